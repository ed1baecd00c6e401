from .merged import export_merged as export_merged

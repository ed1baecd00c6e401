"""What goes wrong before anything is trained."""

from book.troubles.trouble import Trouble

INSTALLING = (
    Trouble(
        "ftlib needs the package: install it with",
        "MissingExtraError: ftlib.load_conversations needs the package 'datasets': install it with pip install "
        "'ftlib[train]'",
        cause="`pip install ftlib` alone brings the command line. What trains, evaluates or serves is in extras.",
        cure="Run the command that the message names. `ftlib doctor` shows which extras are there.",
        provoke="""
            import sys
            from unittest import mock
            import ftlib.data
            for one in (ftlib, ftlib.data):
                vars(one).pop("load_conversations", None)
            with mock.patch.dict(sys.modules, {"datasets": None}):
                sys.modules.pop("ftlib.data.reading", None)
                ftlib.load_conversations
        """,
        fix="pip install 'ftlib[train]'",
        language="bash",
        holds="ftlib.load_conversations",
    ),
    Trouble(
        "cannot import name 'load_dataset' from 'datasets'",
        "ImportError: cannot import name 'load_dataset' from 'datasets' (...datasets.py)",
        cause="A file of yours is called like a package, `datasets.py` here, and Python finds yours first: the "
        "message names it.",
        cure="Give the file another name. The import then reaches the package:",
        provoke="""
            import subprocess, sys
            command = [sys.executable, "-c", "from datasets import load_dataset"]
            said = subprocess.run(command, capture_output=True, encoding="utf-8").stderr
            print(said)
        """,
        fix="""
            from pathlib import Path

            Path("datasets.py").rename("my_datasets.py")
        """,
        holds="subprocess.run([sys.executable, '-c', 'import datasets.config']).returncode == 0",
        files={"datasets.py": "rows = []\n"},
    ),
    Trouble(
        "lamini has requirement numpy<2",
        "lamini ... has requirement numpy<2..., but you have numpy ....",
        cause="Lamini's client pins an old NumPy. Were it obeyed, today's pyarrow, and with it `datasets`, could no "
        "longer be imported. The client itself works with NumPy 2; only `pip check` complains.",
        cure="Leave NumPy as it is, and install the client without what it asks for:",
        provoke="""
            import subprocess, sys
            print(subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, encoding="utf-8").stdout)
        """,
        fix="""
            pip install 'ftlib[lamini]'
            pip install --no-deps lamini
        """,
        language="bash",
        holds="__import__('pyarrow') and __import__('numpy').__version__ >= '2'",
    ),
    Trouble(
        "We couldn't connect to 'https://huggingface.co'",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
        "cached files. ...",
        cause="The model is not on your disk, and there is no network, or `HF_HUB_OFFLINE=1` forbids it.",
        cure="Load the name once while you are online and the variable is not set, or take the model that comes with "
        "the course:",
        provoke="""
            from transformers import AutoTokenizer
            AutoTokenizer.from_pretrained("somebody/some-model")
        """,
        fix="""
            from ftlib import load_model

            model, tokenizer = load_model("nano")
        """,
        holds="model.num_parameters() > 3e6",
    ),
    Trouble(
        "is not in the local cache, and HF_HUB_OFFLINE forbids the network",
        "ModelError: model 'EleutherAI/pythia-70m...' is not in the local cache, and HF_HUB_OFFLINE forbids the "
        "network. Go online once to download it, check the spelling, or use 'nano', which needs no network. (...)",
        cause="A name with a slash is a model of the Hugging Face Hub, and the variable `HF_HUB_OFFLINE` is set.",
        cure="Unset it for the first run; afterwards the model is on your disk. What needs no weights works offline "
        "too:",
        provoke="""
            from ftlib import load_model
            load_model("EleutherAI/pythia-70m-never-stored")
        """,
        fix="""
            from ftlib.estimate.estimation import estimate

            need = estimate("EleutherAI/pythia-70m", batch_size=1, length=512)
        """,
        holds="need.parameters == 70_426_624",
    ),
)

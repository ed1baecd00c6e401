(text) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/jsonl"}));
  link.download = "conversation.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
}

(...told) => {
  const stopping = window.ftlibStopping;
  window.ftlibStopping = false;
  const shown = (text) => stopping && text.includes(WRITING);
  return told.map((text) => shown(text) ? text.replace(WRITING, "Stopped.") : {__type__: "update"});
}

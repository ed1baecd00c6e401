// Paper is light, and what is folded can't be opened on it.
{
  const page = document.documentElement.dataset;
  let theme = page.theme;
  let opened = [];
  window.addEventListener("beforeprint", () => {
    theme = page.theme;
    page.theme = "light";
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => (one.open = true));
  });
  window.addEventListener("afterprint", () => {
    page.theme = theme;
    opened.forEach((one) => (one.open = false));
  });
}

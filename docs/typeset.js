// Formulas are written as LaTeX by docs/from_sources.py; KaTeX draws them when the page is there.
for (const element of document.querySelectorAll(".tex")) {
  katex.render(element.textContent, element, {
    displayMode: element.tagName === "DIV",
    throwOnError: false,
  });
}

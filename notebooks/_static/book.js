// What the theme leaves out for readers who use a keyboard or a screen reader.
"use strict";

const SCROLLS = ".highlight pre, .table-wrapper, .cell_output, div.math, .sidebar-scroll, .toc-scroll";

function scrollByKeyboard() {
  for (const one of document.querySelectorAll(SCROLLS)) {
    if (one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
}

function become(old, tag, name) {
  const one = document.createElement(tag);
  one.className = `parameter-${name}`;
  one.append(...old.childNodes);
  old.replaceWith(one);
}

addEventListener("DOMContentLoaded", () => {
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "Contents of the book");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "Contents of this page");
  for (const one of document.querySelectorAll(".caption[role=heading]")) one.ariaLevel = "2";
  for (const one of document.querySelectorAll("th:empty")) one.replaceWith(document.createElement("td")); // of pandas
  // Parameters of a long signature are a list of definitions without terms.
  for (const one of document.querySelectorAll(".sig dl > dd, .sig dl")) become(one, "div", one.localName);
  document.querySelector("#search-results")?.insertAdjacentHTML("beforebegin", "<h1>Search</h1>");
  scrollByKeyboard();
});
addEventListener("load", scrollByKeyboard);
addEventListener("resize", scrollByKeyboard);

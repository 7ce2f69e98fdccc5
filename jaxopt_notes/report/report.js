for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    // What failed or did not run stays last in both directions.
    const compare = (a, b) => (a === "") - (b === "") || sign * (a - b || (isNaN(a - b) ? a.localeCompare(b) : 0));
    body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    const order = sign > 0 ? "ascending" : "descending";
    head.setAttribute("aria-sort", order);
    document.getElementById("said").textContent = `sorted by ${head.innerText.trim()}, ${order}`;
  }));
}

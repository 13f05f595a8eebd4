"use strict";
// A click on a heading sorts the rows of its table; a second click reverses the order.
const value = (row, column) => {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) =>
  typeof a === typeof b && typeof a === "number" ? a - b : String(a).localeCompare(String(b));
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const table = heading.closest("table");
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    const column = heading.cellIndex;
    rows.sort((a, b) => compare(value(a, column), value(b, column)) * (descending ? -1 : 1));
    table.tBodies[0].append(...rows);
  });
}

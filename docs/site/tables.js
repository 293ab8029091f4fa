// Tables of sentences become cards on narrow screens (site.css): each cell learns its column's name.
// In tables of numbers "0.9006 ± 0.0029" stays on one line; these scroll where they are too wide.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent)
    const cells = [...table.querySelectorAll("tbody td")]
    const prose = cells.some((cell) => cell.cellIndex > 0 && cell.textContent.length > 60)
    for (const cell of cells) {
      if (prose && heads.length > 2) cell.dataset.column = heads[cell.cellIndex] ?? ""
      else if (/^[\d.]+ ± [\d.]+$/.test(cell.textContent)) cell.dataset.short = ""
    }
    if (!prose) continue
    table.dataset.prose = ""
    table.closest(".md-typeset__scrollwrap")?.classList.add("prose-box")
  }
})

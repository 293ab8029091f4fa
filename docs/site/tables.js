// Tables of sentences become cards on narrow screens (site.css): each cell learns its column's name.
// "0.9006 ± 0.0029" and short words stay on one line; tables of numbers scroll where they are too wide.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent)
    const cells = [...table.querySelectorAll("tbody td")]
    const prose = cells.some((cell) => cell.cellIndex > 0 && cell.textContent.length > 60)
    for (const cell of cells) {
      if (prose && heads.length > 2) cell.dataset.column = heads[cell.cellIndex] ?? ""
      if (/^([\d.]+ ± [\d.]+|\S{1,12})$/.test(cell.textContent)) cell.dataset.short = ""
    }
    if (!prose) continue
    table.dataset.prose = ""
    table.closest(".md-typeset__scrollwrap")?.classList.add("prose-box")
  }
})

// Shows what the state says, and follows the address.

const SHOW = {
  table: tableView, scatter: scatterView, units: heatView, curve: curveView, density: densityView, compare: compareView,
};

function render() {
  renderHead();
  renderViews();
  renderControls();
  const shown = SHOW[state.view]();
  swap(document.getElementById("main"), shown.node, exportButtons(shown));
  renderNotes();
  renderDetails();
}

function start() {
  setTheme(storedTheme());
  readAddress();
  render();
  watchTips();
  addEventListener("hashchange", () => {
    readAddress();
    render();
  });
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (state.view !== "table") render(); }, 120);
  });
  const dialog = document.getElementById("details");
  dialog.addEventListener("close", closeDetails);
  dialog.addEventListener("click", (e) => { if (e.target === dialog) closeDetails(); });
  document.getElementById("skip").addEventListener("click", (e) => {
    e.preventDefault();
    document.getElementById("main").focus();
  });
}

start();

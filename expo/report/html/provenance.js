// Where the records come from.

function provenance(runs) {
  const parts = runs.map((run) => {
    const { command, recipe, facts } = run.provenance;
    return el(
      "details",
      { open: runs.length === 1 },
      el("summary", {}, `${run.name}: ${run.setting}`),
      run.left_out.length ? el("p", { class: "note" }, run.left_out.join(" ")) : null,
      el("p", {}, "The command, with all flags that differ from their defaults:"),
      copied(command),
      el("p", {}, "The resolved recipe, to pass to ", el("code", {}, "--config"), ":"),
      copied(recipe),
      tableOf("Versions and inputs", ["fact", "value"], facts),
    );
  });
  return section("provenance", "Where it comes from", ...parts);
}

/** A text with a button that copies it. */
function copied(text) {
  const shown = el("pre", {}, text);
  const button = el("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  return el("div", { class: "copied" }, button, shown);
}

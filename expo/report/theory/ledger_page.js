'use strict';
(() => {
  const form = document.getElementById('filter');
  const fields = [...form.querySelectorAll('input, select')];
  const rows = [...document.querySelectorAll('tr[id]')];
  const texts = new Map(rows.map((row) => [row, [...row.cells].map((c) => c.textContent).join('\n').toLowerCase()]));

  /** Whether a row has every word of the text, and the value of every choice that is made. */
  function matches(row) {
    return fields.every(({ name, value }) => name === 'text'
      ? value.toLowerCase().split(/\s+/).every((word) => texts.get(row).includes(word))
      : !value || row.dataset[name] === value);
  }

  function show() {
    for (const row of rows) row.hidden = !matches(row);
    const shown = rows.filter((row) => !row.hidden);
    for (const count of document.querySelectorAll('data[data-of]')) {
      const n = shown.filter((row) => row.dataset[count.dataset.of] === count.dataset.is).length;
      count.value = n;
      count.textContent = n;
      count.closest('li, dd').classList.toggle('none', n === 0);
    }
    for (const part of document.querySelectorAll('tbody')) part.hidden = !part.querySelector('tr[id]:not([hidden])');
    form.querySelector('output').textContent = `${shown.length} of ${rows.length} claims`;
  }

  /** Keep the choices in the address, so that it can be sent as a link. */
  function keep() {
    const chosen = new URLSearchParams(fields.filter((f) => f.value.trim()).map((f) => [f.name, f.value]));
    history.replaceState(null, '', `#${chosen}`);
  }

  /** Take the choices from the address; where it names a claim, that claim must be seen. */
  function read() {
    const fragment = location.hash.slice(1);
    if (fragment.includes('=')) {
      const asked = new URLSearchParams(fragment);
      for (const field of fields) {
        field.value = asked.get(field.name) ?? '';
        if (field.selectedIndex === -1) field.value = '';
      }
      show();
      document.getElementById('claims').scrollIntoView();
      return;
    }
    const target = document.querySelector(':target');
    if (target?.closest('[hidden]')) {
      form.reset();
      target.scrollIntoView();
    }
  }

  form.addEventListener('input', () => { show(); keep(); });
  form.addEventListener('reset', () => { for (const field of fields) field.value = ''; show(); });
  form.querySelector('button').addEventListener('click', () => setTimeout(keep));
  form.addEventListener('submit', (event) => event.preventDefault());
  addEventListener('hashchange', read);
  form.hidden = false;
  show();
  read();
})();

// The page of search results: asks lunr, with the sections that scripts/docs has written to sections.js.
(function () {
  const found = document.getElementById("found"), field = document.querySelector("#find input");
  const query = (new URLSearchParams(location.search).get("q") || "").trim();
  field.value = query;
  if (!query) return field.focus();

  // A name is found by its parts as well: run_options by "options".
  const parts = text => text + " " + (text.match(/\w+_\w+/g) || []).join(" ").replaceAll("_", " ");
  const index = lunr(function () {
    this.ref("id");
    this.field("page", { boost: 4 });
    this.field("title", { boost: 8 });
    this.field("text");
    sections.forEach(({ page, title, text }, id) =>
      this.add({ id, page: parts(page), title: parts(title), text: parts(text) }));
  });

  const words = query.toLowerCase().split(/[^\w]+/).filter(Boolean);
  // Sections that have all the words, in any form; if none has, those that have one.
  const has = word => new Set(index.query(q => {
    q.term(word);
    q.term(word, { wildcard: lunr.Query.wildcard.TRAILING, usePipeline: false });
  }).map(hit => hit.ref));
  const any = index.query(q => words.forEach(word => {
    q.term(word, { boost: 10 });
    q.term(word, { wildcard: lunr.Query.wildcard.TRAILING, usePipeline: false });
  }));
  const sets = words.map(has), all = any.filter(hit => sets.every(set => set.has(hit.ref)));
  const hits = (all.length ? all : any).slice(0, 40);

  const element = (name, text, parent) => {
    const one = document.createElement(name);
    one.textContent = text;
    return parent.appendChild(one);
  };
  found.textContent = "";
  element("p", hits.length ? `${hits.length} places with “${query}”` : `Nothing has “${query}” in it.`, found);
  const list = element("ol", "", found);
  for (const { ref } of hits) {
    const { url, page, title, text } = sections[ref];
    const item = element("li", "", list);
    const link = element("a", title === page ? page : `${page}: ${title}`, item);
    link.href = url;
    const at = Math.max(0, ...words.map(word => text.toLowerCase().indexOf(word))), from = Math.max(0, at - 80);
    const excerpt = element("p", (from ? "… " : ""), item);
    const pattern = new RegExp(`(${words.map(word => word.replace(/\W/g, "")).join("|")})`, "gi");
    text.slice(from, from + 240).split(pattern).forEach((piece, i) =>
      i % 2 ? element("mark", piece, excerpt) : excerpt.append(piece));
    excerpt.append(" …");
  }
})();

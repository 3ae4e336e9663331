"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const read = (id) => JSON.parse($(id).textContent);
  document.documentElement.classList.add("scripted");

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children); // strings become text nodes, never markup
    return element;
  };

  // --- the tip: words beside whatever is pointed at or focused -----------------------------------------------------

  const tip = $("tip");
  let described = null;

  const showTip = (target, content) => {
    tip.replaceChildren(content);
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(at.left + Math.min(at.width / 2, 40), width - size.width - 8));
    const below = at.bottom + 8 + size.height < window.innerHeight;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(below ? at.bottom + 8 : Math.max(4, at.top - size.height - 8)) + window.scrollY}px`;
    if (described) described.removeAttribute("aria-describedby");
    described = target;
    if (target instanceof HTMLElement) target.setAttribute("aria-describedby", "tip");
  };

  const hideTip = () => {
    tip.hidden = true;
    if (described) described.removeAttribute("aria-describedby");
    described = null;
  };

  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  window.addEventListener("blur", hideTip);

  // --- drawings: follow a model -------------------------------------------------------------------------------------

  const charts = [...document.querySelectorAll(".chart")];
  const keys = [...document.querySelectorAll("[data-follow]")];
  let followed = null;

  const bringForward = (chart, model) => {
    const own = [...chart.querySelectorAll("[data-model]")];
    const there = model !== null && own.some((element) => element.dataset.model === model);
    chart.classList.toggle("following", there);
    for (const element of own) element.classList.toggle("followed", there && element.dataset.model === model);
  };

  for (const key of keys) {
    key.addEventListener("click", () => {
      followed = followed === key.dataset.follow ? null : key.dataset.follow;
      for (const each of keys) each.setAttribute("aria-pressed", String(each.dataset.follow === followed));
      for (const chart of charts) bringForward(chart, followed);
    });
  }

  for (const chart of charts) {
    chart.addEventListener("pointerover", (event) => {
      const own = event.target.closest("[data-model]");
      const told = event.target.closest("[data-words]");
      bringForward(chart, own ? own.dataset.model : followed);
      if (told) showTip(told, told.dataset.words);
      else hideTip();
    });
    chart.addEventListener("pointerleave", () => {
      bringForward(chart, followed);
      hideTip();
    });
  }

  // --- the reader ---------------------------------------------------------------------------------------------------

  const packed = read("packed");
  const thresholds = read("thresholds");
  const compared = new Set(packed.compared);
  const kindsOf = (bits) => packed.kinds.filter((_, place) => bits & (4 << place));
  const open = ([text, engagement, relevance, bits], place) => ({
    text,
    place,
    engagement: engagement / 1000,
    relevance: relevance === null ? null : relevance / 1000, // null: not defined for this language
    wellFormed: Boolean(bits & 1),
    passes: Boolean(bits & 2),
    failures: kindsOf(bits),
  });

  const posts = packed.posts.map(([id, post, human, sets], place) => ({
    id,
    post,
    place,
    human: open(human, 0),
    sets: sets.map((bySeed) => bySeed.map((replies) => replies.map(open))),
  }));

  const controls = {
    text: $("filter-text"),
    pass: $("filter-pass"),
    failure: $("filter-failure"),
    replies: $("sort-replies"),
    posts: $("sort-posts"),
    seed: $("filter-seed"),
  };
  for (const kind of packed.kinds) controls.failure.append(make("option", { value: kind }, kind.replace("_", "-")));
  packed.seeds.forEach((seed, place) => controls.seed.append(make("option", { value: place }, String(seed))));
  packed.models.forEach(([model, label], place) => {
    const box = make("input", { type: "checkbox", value: place });
    box.checked = compared.has(model);
    const name = make("span", { style: `--mark:var(--mark-${place})` }, label);
    $("filter-models").append(make("label", {}, box, name));
  });
  const boxes = [...$("filter-models").querySelectorAll("input")];

  const ORDERS = {
    drawn: (a, b) => a.place - b.place,
    engagement: (a, b) => b.engagement - a.engagement || a.place - b.place,
    "engagement-up": (a, b) => a.engagement - b.engagement || a.place - b.place,
    relevance: (a, b) => (b.relevance ?? -2) - (a.relevance ?? -2) || a.place - b.place, // what has none stands last
    "relevance-up": (a, b) => (a.relevance ?? 2) - (b.relevance ?? 2) || a.place - b.place,
    length: (a, b) => b.text.length - a.text.length || a.place - b.place,
  };
  const passing = (found) => found.sets.reduce((sum, set) => sum + set.passed, 0);
  const spread = (found) => {
    const counts = found.sets.map((set) => set.passed);
    return Math.max(...counts) - Math.min(...counts);
  };
  const POST_ORDERS = {
    test: () => 0,
    most: (a, b) => passing(b) - passing(a),
    fewest: (a, b) => passing(a) - passing(b),
    human: (a, b) => b.post.human.engagement - a.post.human.engagement,
    spread: (a, b) => spread(b) - spread(a),
  };

  let found = []; // what the filters leave: a post with the sets of the chosen models
  let at = 0;

  const search = () => {
    const wanted = controls.text.value.trim().toLowerCase();
    const seed = Number(controls.seed.value);
    const models = boxes.filter((box) => box.checked).map((box) => Number(box.value));
    const keeps = (reply, postHasWords) =>
      (postHasWords || reply.text.toLowerCase().includes(wanted)) &&
      (controls.pass.value === "" || reply.passes === (controls.pass.value === "1")) &&
      (controls.failure.value === "" || reply.failures.includes(controls.failure.value));
    found = posts
      .map((post) => {
        const postHasWords = wanted === "" || post.post.toLowerCase().includes(wanted);
        const sets = models.map((model) => {
          const all = post.sets[model][seed];
          const replies = all.filter((reply) => keeps(reply, postHasWords)).sort(ORDERS[controls.replies.value]);
          return { model, replies, of: all.length, passed: all.filter((reply) => reply.passes).length };
        });
        return { post, sets, count: sets.reduce((sum, set) => sum + set.replies.length, 0) };
      })
      .filter((one) => one.count > 0);
    const order = POST_ORDERS[controls.posts.value];
    found.sort((a, b) => order(a, b) || a.post.place - b.post.place);
    at = 0;
    draw();
  };

  const marked = (text, wanted) => {
    const pieces = [];
    const low = text.toLowerCase();
    let from = 0;
    while (wanted && low.length === text.length) {
      const next = low.indexOf(wanted, from);
      if (next < 0) break;
      pieces.push(text.slice(from, next), make("mark", {}, text.slice(next, next + wanted.length)));
      from = next + wanted.length;
    }
    pieces.push(text.slice(from));
    return pieces;
  };

  const scores = (reply) => {
    const limit = (value, name) => {
      if (value === null || (thresholds[name] ?? null) === null) return "";
      return `${value >= thresholds[name] ? "\u2713 at least" : "\u2715 below"} ${thresholds[name].toFixed(3)}`;
    };
    const row = (name, value, words) => [make("dt", {}, name), make("dd", {}, value), make("dd", { class: "limit" }, words)];
    const list = make("dl");
    list.append(
      ...row("engagement", reply.engagement.toFixed(3), limit(reply.engagement, "engagement")),
      ...row("relevance", reply.relevance?.toFixed(3) ?? "not defined for this language", limit(reply.relevance, "on_topic")),
      ...row("well-formed", reply.wellFormed ? "yes" : "no", reply.wellFormed ? "\u2713" : "\u2715"),
      ...row(reply.passes ? "passes" : "does not pass", "", ""),
    );
    if (reply.failures.length) list.append(...row("fails as", reply.failures.join(", ").replaceAll("_", "-"), ""));
    return list;
  };

  const replyButton = (reply, wanted, label) => {
    const button = make("button", { type: "button", class: `reply ${reply.passes ? "pass" : "miss"}`, tabindex: "-1" });
    button.append(...marked(reply.text, wanted));
    button.append(make("span", { class: "unseen" }, ` (${label}${reply.passes ? "passes" : "does not pass"})`));
    if (reply.failures.length) button.append(make("em", {}, reply.failures.join(", ").replaceAll("_", "-")));
    const show = () => showTip(button, scores(reply));
    button.addEventListener("pointerenter", show);
    button.addEventListener("pointerleave", () => (document.activeElement?.classList.contains("reply") ? 0 : hideTip()));
    button.addEventListener("focus", show);
    button.addEventListener("click", show);
    button.addEventListener("blur", hideTip);
    return button;
  };

  const draw = () => {
    hideTip();
    const total = found.reduce((sum, one) => sum + one.count, 0);
    $("previous").disabled = at === 0;
    $("next").disabled = at >= found.length - 1;
    if (!found.length) {
      $("count").textContent = "No reply fits.";
      $("spread").replaceChildren(make("p", { class: "empty" }, "No reply fits these filters."));
      return;
    }
    const { post, sets } = found[at];
    $("count").textContent =
      `Post ${at + 1} of ${found.length}: ${found[at].count} of ${total.toLocaleString("en")} replies that fit`;
    const wanted = controls.text.value.trim().toLowerCase();
    const exchange = make(
      "article",
      { class: "exchange" },
      make("h3", {}, "Post"),
      make("p", { class: "said" }, ...marked(post.post, wanted)),
      make("h3", {}, "A person answered"),
      replyButton(post.human, "", "human answer, "),
    );
    const columns = make("div", { class: "sets" });
    for (const { model, replies, of, passed } of sets) {
      const list = make("ol");
      for (const reply of replies) list.append(make("li", {}, replyButton(reply, wanted, "")));
      const title = make("h4", {}, packed.models[model][1], make("small", {}, `${passed} of ${of} pass`));
      const style = `--mark:var(--mark-${model});--text:var(--text-${model})`;
      const column = make("section", { class: "set", style, "aria-label": packed.models[model][1] }, title, list);
      if (!replies.length) column.append(make("p", { class: "empty" }, "none fits"));
      columns.append(column);
    }
    $("spread").replaceChildren(exchange, columns);
    $("spread").querySelector(".reply").tabIndex = 0;
  };

  const turn = (by) => {
    at = Math.max(0, Math.min(found.length - 1, at + by));
    draw();
  };

  // One tab stop for all replies; arrows walk down a set and across to the next one.
  const walk = (event) => {
    const here = event.target.closest(".reply");
    if (!here) return;
    const columns = [[$("spread").querySelector(".exchange .reply")]];
    for (const set of $("spread").querySelectorAll(".set")) columns.push([...set.querySelectorAll(".reply")]);
    const filled = columns.filter((column) => column.length);
    const column = filled.findIndex((one) => one.includes(here));
    const row = filled[column].indexOf(here);
    const to = {
      ArrowDown: () => filled[column][row + 1] ?? filled[column + 1]?.[0],
      ArrowUp: () => filled[column][row - 1] ?? filled[column - 1]?.at(-1),
      ArrowRight: () => filled[column + 1]?.[Math.min(row, filled[column + 1].length - 1)],
      ArrowLeft: () => filled[column - 1]?.[Math.min(row, filled[column - 1].length - 1)],
      Home: () => filled[0][0],
      End: () => filled.at(-1).at(-1),
    }[event.key]?.();
    if (event.key === "PageDown" || event.key === "PageUp") {
      event.preventDefault();
      turn(event.key === "PageDown" ? 1 : -1);
      $("spread").querySelector(".reply")?.focus();
    }
    if (!to) return;
    event.preventDefault();
    here.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  };

  $("spread").addEventListener("keydown", walk);
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  controls.text.addEventListener("input", search);
  for (const control of [...Object.values(controls).slice(1), ...boxes]) control.addEventListener("change", search);
  search();
})();

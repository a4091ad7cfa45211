"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const LANES = 12, TOTALS = 10, THIN = 0.022;
  const SCORE = 40; // pixels that a score takes
  const LOUDER = 1.2; // hours are drawn against the fullest one
  const lower = data.texts.map((text) => text.toLowerCase());
  const hue = (text) => Math.round((265 + text * 137.508) % 360);

  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10), h = Math.floor(tenths / 36000);
    const m = Math.floor(tenths / 600) % 60, s = Math.floor(tenths / 10) % 60;
    const two = (n) => String(n).padStart(2, "0");
    return (h ? h + ":" + two(m) : m) + ":" + two(s) + (tenths % 10 ? "." + (tenths % 10) : "");
  };
  const count = (n, one, many) => n.toLocaleString("en") + " " + (n === 1 ? one : many);
  const colour = (element, text) => element.style.setProperty("--h", hue(text));

  // ---- the head, counts and hours

  const whole = data.sounds.reduce((sum, sound) => sum + sound.end - sound.begin, 0);
  byId("about").textContent = data.lead || [count(data.sounds.length, "sound", "sounds"), clock(Math.round(whole)),
    ...Object.entries(data.about).map((pair) => pair.join(" "))].join(" \u00b7 ");

  const labelButton = (text, share) => {
    const button = make("button", text === data.silence ? "label silent" : "label");
    button.type = "button";
    const lot = make("div", "lot"), length = make("i");
    length.style.width = 100 * share + "%";
    lot.append(length, make("span", "", data.texts[text]));
    button.append(lot);
    button.dataset.text = text;
    button.setAttribute("aria-pressed", "false");
    colour(button, text);
    button.addEventListener("click", () => {
      const filter = byId("filter"), chosen = data.texts[text];
      filter.value = filter.value === chosen ? "" : chosen;
      sift();
    });
    return button;
  };

  const showTotals = (most) => {
    const longest = Math.max(...data.totals.map((total) => total[1]), 1e-9);
    byId("totals").replaceChildren(...data.totals.slice(0, most).map(([times, seconds, files], text) => {
      const row = make("tr"), cell = make("td");
      cell.append(labelButton(text, seconds / longest));
      row.append(cell, make("td", "number", times.toLocaleString("en")), make("td", "number", clock(seconds)),
        make("td", "number files", files.toLocaleString("en")));
      return row;
    }));
  };
  const several = data.texts.length > 1 || data.sounds.length > 1 && !data.sounds.some((sound) => sound.score !== undefined);
  if (several && !data.lead) {
    byId("summary").hidden = false;
    showTotals(TOTALS);
    const more = byId("more"), rest = data.texts.length - TOTALS;
    more.hidden = rest <= 0;
    more.textContent = "Show " + count(rest, "more", "more");
    more.addEventListener("click", () => { showTotals(data.texts.length); more.hidden = true; sift(); });
  }
  if (data.hours.length) {
    byId("hours").hidden = false;
    const fullest = Math.max(...data.hours.flat(), 1e-9) * LOUDER, table = byId("hour-table");
    const head = make("tr");
    head.append(make("th"));
    for (let hour = 0; hour < 24; hour++) { const th = make("th", "", hour); th.scope = "col"; head.append(th); }
    table.append(head);
    data.hours.forEach((row, text) => {
      if (!row.some(Boolean)) return;
      const line = make("tr", text === data.silence ? "silent" : ""), th = make("th", "", data.texts[text]);
      th.scope = "row";
      line.append(th);
      row.forEach((seconds, hour) => {
        const minutes = seconds / 60;
        const td = make("td", "", seconds < 3 ? "" : minutes < 10 ? minutes.toFixed(1) : Math.round(minutes));
        if (seconds) {
          td.style.setProperty("--a", 0.15 + 0.85 * seconds / fullest);
          td.title = data.texts[text] + ", " + hour + ":00: " + clock(seconds);
        }
        colour(td, text);
        line.append(td);
      });
      table.append(line);
    });
  }

  // ---- one sound

  const facts = (sound) => [clock(sound.end - sound.begin),
    sound.begin ? "from " + clock(sound.begin) : "",
    sound.began ? sound.began.replace("T", " ") : "",
    sound.score !== undefined ? "score " + sound.score.toFixed(2) : ""].filter(Boolean).join(" \u00b7 ");

  const place = (sound, time) => (time - sound.begin) / Math.max(sound.end - sound.begin, 1e-9);

  const described = (mark) => clock(mark[0]) + "-" + clock(mark[1]) + "  " + data.texts[mark[2]] +
    (mark[3] === undefined ? "" : "  " + mark[3].toFixed(2));

  const makeBlock = (card, mark, shown) => {
    const sound = card.sound, left = place(sound, mark[0]), width = place(sound, mark[1]) - left;
    const block = make("button", "block" + (width < THIN ? " thin" : "") + (mark[2] === data.silence ? " silent" : ""), shown);
    block.type = "button";
    block.tabIndex = -1;
    block.style.left = 100 * left + "%";
    block.style.width = "max(3px, " + 100 * width + "% - 1px)";
    block.setAttribute("aria-label", "Play " + described(mark));
    block.title = described(mark);
    colour(block, mark[2]);
    block.addEventListener("click", () => play(card, mark[0]));
    block.addEventListener("focus", () => { card.hint.textContent = described(mark); });
    card.blocks.push({ element: block, mark });
    return block;
  };

  const makeRow = (card, name, className) => {
    const row = make("div", "row"), track = make("div", "track" + (className ? " " + className : ""));
    const label = make("div", "lane-name", name);
    label.title = name;
    row.append(label, track);
    card.stage.append(row);
    return track;
  };

  const makeSight = (card) => {
    const sound = card.sound, sight = makeRow(card, "", sound.picture ? "sight" : "sight plain");
    if (sound.picture) {
      const image = make("img");
      image.src = "data:image/png;base64," + sound.picture;
      image.alt = "";
      sight.append(image);
    }
    sight.append(card.head = make("div", "head"));
    if (!playable(sound)) return;
    sight.tabIndex = 0;
    sight.setAttribute("role", "slider");
    sight.setAttribute("aria-label", "Position in " + sound.name);
    sight.setAttribute("aria-valuemin", sound.begin);
    sight.setAttribute("aria-valuemax", sound.end);
    card.sight = sight;
    tell(card, sound.begin);
    sight.addEventListener("click", (event) => {
      const box = sight.getBoundingClientRect();
      play(card, sound.begin + (event.clientX - box.left) / box.width * (sound.end - sound.begin));
    });
    sight.addEventListener("keydown", (event) => {
      const here = current === card ? now() : sound.begin, step = Math.max(1, (sound.end - sound.begin) / 50);
      const to = { ArrowLeft: here - step, ArrowRight: here + step, Home: sound.begin, End: sound.end - step }[event.key];
      if (to !== undefined) play(card, Math.min(Math.max(to, sound.begin), sound.end));
      else if (event.key === " " || event.key === "Enter") current === card ? toggle() : play(card, sound.begin);
      else return;
      event.preventDefault();
    });
  };

  const makeTimes = (card) => {
    const sound = card.sound, length = sound.end - sound.begin, most = innerWidth < 640 ? 4 : 9;
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
    const step = steps.find((each) => length / each <= most) || steps[steps.length - 1];
    const track = makeRow(card, "");
    track.className = "times";
    for (let time = Math.ceil(sound.begin / step) * step; time < sound.end - length * 0.05 || time === sound.begin; time += step) {
      const tick = make("span", "", clock(time));
      tick.style.left = 100 * place(sound, time) + "%";
      track.append(tick);
    }
  };

  const makeLanes = (card) => {
    const sound = card.sound, texts = [...new Set(sound.marks.map((mark) => mark[2]))];
    const scored = Boolean(data.lead) || sound.marks.some((mark) => mark.length > 3);
    if (!sound.marks.length) card.stage.classList.add("wide");
    if (!scored) {
      card.stage.classList.add("wide");
      const only = sound.marks.length === 1;
      if (only) card.body.prepend(make("p", "said", data.texts[sound.marks[0][2]]));
      if (!only || sound.marks[0][0] > sound.begin || sound.marks[0][1] < sound.end - 0.1) {
        const track = makeRow(card, "");
        sound.marks.forEach((mark) => track.append(makeBlock(card, mark, data.texts[mark[2]])));
      }
      return;
    }
    const lane = (text) => {
      const track = makeRow(card, data.texts[text]);
      sound.marks.filter((mark) => mark[2] === text)
        .forEach((mark) => {
          const fits = (place(sound, mark[1]) - place(sound, mark[0])) * track.clientWidth > SCORE;
          track.append(makeBlock(card, mark, fits && mark[3] !== undefined ? mark[3].toFixed(2) : ""));
        });
      return track.parentElement;
    };
    texts.sort((a, b) => (a === data.silence) - (b === data.silence));
    texts.slice(0, LANES).forEach(lane);
    if (texts.length > LANES) {
      const more = make("button", "more", "Show " + count(texts.length - LANES, "more lane", "more lanes"));
      more.type = "button";
      more.addEventListener("click", () => {
        const times = card.stage.lastElementChild;
        texts.slice(LANES).forEach((text) => card.stage.insertBefore(lane(text), times));
        more.remove();
        fade(card);
      });
      card.body.append(more);
    }
  };

  // one block of a card is in the order of the tab key; arrows go from there to the others
  const rove = (card, to) => {
    card.blocks.forEach(({ element }) => { element.tabIndex = -1; });
    if (to) { to.element.tabIndex = 0; to.element.focus(); }
    else if (card.blocks.length) card.blocks[0].element.tabIndex = 0;
  };
  const neighbour = (card, key, at) => {
    const own = card.blocks[at], lane = own.element.parentElement, sameLane = (b) => b.element.parentElement === lane;
    if (key === "ArrowLeft") return card.blocks.slice(0, at).reverse().find(sameLane);
    if (key === "ArrowRight") return card.blocks.slice(at + 1).find(sameLane);
    const others = key === "ArrowUp" ? card.blocks.slice(0, at).reverse() : card.blocks.slice(at + 1);
    const next = others.find((b) => !sameLane(b));
    if (!next) return undefined;
    const inside = card.blocks.filter((b) => b.element.parentElement === next.element.parentElement);
    return inside.reduce((best, b) => Math.abs(b.mark[0] - own.mark[0]) < Math.abs(best.mark[0] - own.mark[0]) ? b : best);
  };

  const build = (card) => {
    if (card.built) return;
    card.built = true;
    card.body = make("div");
    card.stage = make("div", "stage");
    card.hint = make("p", "hint");
    card.body.append(card.stage);
    card.article.append(card.body); // first, since what fits into a block depends on how wide it is
    makeSight(card);
    makeLanes(card);
    makeTimes(card);
    card.body.append(card.hint);
    rove(card);
    card.stage.addEventListener("pointerover", (event) => {
      const block = card.blocks.find(({ element }) => element === event.target);
      if (block) card.hint.textContent = described(block.mark);
    });
    card.stage.addEventListener("keydown", (event) => {
      const at = card.blocks.findIndex(({ element }) => element === event.target);
      if (at < 0 || !event.key.startsWith("Arrow")) return;
      const to = neighbour(card, event.key, at);
      if (to) rove(card, to);
      event.preventDefault();
    });
    fade(card);
  };

  // text that was judged without its sound has no time
  const lasts = (sound) => sound.end > sound.begin || !sound.notes;
  const noted = (notes) => {
    const list = make("dl", "notes");
    notes.forEach(([name, text]) => list.append(make("dt", "", name), make("dd", "", text)));
    return list;
  };
  const cards = data.sounds.map((sound, number) => {
    const article = make("article"), title = make("h2", "", sound.name);
    title.id = "sound-" + number;
    article.setAttribute("aria-labelledby", title.id);
    article.append(title);
    if (sound.error) article.append(make("p", "error", sound.error));
    else if (lasts(sound)) article.append(make("p", "facts", facts(sound)));
    if (sound.notes) article.append(noted(sound.notes));
    return { sound, article, blocks: [], built: Boolean(sound.error) || !lasts(sound), texts: new Set(sound.marks.map((mark) => mark[2])) };
  });
  byId("sounds").append(...cards.map((card) => card.article));
  if ("IntersectionObserver" in window) {
    const owners = new Map(cards.map((card) => [card.article, card]));
    const watcher = new IntersectionObserver((seen) => seen.filter((each) => each.isIntersecting).forEach((each) => {
      watcher.unobserve(each.target);
      build(owners.get(each.target));
    }), { rootMargin: "600px" });
    cards.forEach((card) => watcher.observe(card.article));
  } else cards.forEach(build);

  // ---- the filter

  let wanted = "", fitting = new Set();
  const fade = (card) => {
    const all = !wanted || !card.sound.marks.some((mark) => fitting.has(mark[2]));
    card.blocks.forEach(({ element, mark }) => element.classList.toggle("faded", !all && !fitting.has(mark[2])));
  };
  const sift = () => {
    wanted = byId("filter").value.trim().toLowerCase();
    fitting = new Set(lower.map((text, number) => text.includes(wanted) ? number : -1));
    let shown = 0;
    cards.forEach((card) => {
      const fits = !wanted || card.sound.name.toLowerCase().includes(wanted) || [...card.texts].some((text) => fitting.has(text)) ||
        (card.sound.error || "").toLowerCase().includes(wanted) ||
        (card.sound.notes || []).some((note) => note[1].toLowerCase().includes(wanted));
      card.article.hidden = !fits;
      shown += fits;
      fade(card);
    });
    byId("found").textContent = wanted ? shown.toLocaleString("en") + " of " + count(cards.length, "sound", "sounds") : "";
    document.querySelectorAll(".label").forEach((button) =>
      button.setAttribute("aria-pressed", String(Boolean(wanted) && lower[button.dataset.text] === wanted)));
  };
  byId("filter").addEventListener("input", sift);

  // ---- the player

  const audio = byId("audio"), whatNow = byId("now");
  let current = null, address = "";
  const playable = (sound) => Boolean(sound.link || sound.audio);
  // what is embedded begins where the card does
  const shift = (sound) => sound.audio ? sound.begin : 0;
  const now = () => audio.currentTime + shift(current.sound);
  const tell = (card, time) => {
    if (!card.sight) return;
    card.sight.setAttribute("aria-valuenow", time.toFixed(1));
    card.sight.setAttribute("aria-valuetext", clock(time));
  };

  const load = (sound) => {
    if (address) URL.revokeObjectURL(address);
    address = "";
    if (sound.audio) {
      const bytes = Uint8Array.from(atob(sound.audio), (letter) => letter.charCodeAt(0));
      address = URL.createObjectURL(new Blob([bytes], { type: "audio/ogg" }));
    }
    audio.src = address || sound.link;
  };

  const play = (card, time) => {
    if (!playable(card.sound)) return;
    build(card);
    const seek = () => { audio.currentTime = Math.max(0, time - shift(card.sound)); };
    if (current !== card) {
      if (current && current.stage) current.stage.classList.remove("live");
      current = card;
      load(card.sound);
      audio.addEventListener("loadedmetadata", seek, { once: true });
    } else if (audio.readyState) seek();
    byId("player").hidden = false;
    byId("playing").textContent = card.sound.name;
    whatNow.textContent = "";
    card.stage.classList.add("live");
    audio.play().catch(() => {});
  };
  const toggle = () => { if (audio.paused) audio.play().catch(() => {}); else audio.pause(); };

  const move = () => {
    if (!current || !current.stage) return;
    const time = now(), sound = current.sound;
    current.head.style.setProperty("--p", Math.min(1, Math.max(0, place(sound, time))));
    byId("position").textContent = clock(Math.floor(time)) + " / " + clock(Math.floor(sound.end));
    tell(current, time);
    const heard = sound.marks.filter((mark) => mark[0] <= time && time < mark[1]);
    whatNow.textContent = heard.map((mark) => data.texts[mark[2]]).join(", ");
    current.blocks.forEach(({ element, mark }) => element.classList.toggle("heard", mark[0] <= time && time < mark[1]));
    if (!audio.paused) requestAnimationFrame(move);
  };
  audio.addEventListener("timeupdate", () => { if (audio.paused) move(); });
  audio.addEventListener("seeked", () => { if (audio.paused) move(); });
  audio.addEventListener("play", () => requestAnimationFrame(move));
  const showState = () => {
    byId("toggle").textContent = audio.paused ? "\u25b6" : "\u275a\u275a";
    byId("toggle").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
  };
  ["play", "pause", "ended"].forEach((name) => audio.addEventListener(name, showState));
  audio.addEventListener("error", () => {
    whatNow.textContent = "The browser cannot play this file from here: make the page with --embed, and the sound is inside it.";
  });
  byId("toggle").addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && event.target !== byId("filter")) { byId("filter").focus(); event.preventDefault(); }
    else if (event.key === "Escape" && event.target === byId("filter")) { byId("filter").value = ""; sift(); }
    else if (event.key === "Escape" && current) audio.pause();
    else if (event.key === " " && event.target === document.body && current) { toggle(); event.preventDefault(); }
  });
})();

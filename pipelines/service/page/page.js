"use strict";
// Sends recordings to the service of this page, one after the other, and shows their scores.
(() => {
  const byId = (id) => document.getElementById(id);
  const FRAME_S = 0.016, FRAME_MIDDLE_S = 0.016;
  const RETRIES = 5;
  // The edges of more anomalies would hide the spectrogram.
  const MAX_MARKED_ANOMALIES = 20;
  // Nine points of Matplotlib's colour map "magma", as in `audiosieve plot`.
  const MAGMA = ["000004", "1c1044", "4f127b", "812581", "b5367a", "e55064", "fb8761", "fec287", "fcfdbf"]
    .map((hex) => [0, 2, 4].map((offset) => parseInt(hex.slice(offset, offset + 2), 16)));
  // Colours of the causes of damage, as in `audiosieve plot`.
  const CAUSES = {
    noise: "#d55e00", music: "#0072b2", second_voice: "#cc79a7", reverberation: "#009e73", clipping: "#e69f00",
    band_limit: "#56b4e9", codec: "#f0e442", dropouts: "#8c510a", hum: "#999999",
  };
  const LANE_HEIGHT = 8;
  const words = (name) => name.replaceAll("_", " ");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  // The third of the scale in which a score lies: the name of its colour.
  const gradeOf = (result) => {
    const { low, high } = result.label_scale, part = (result.score - low) / (high - low);
    return part < 1 / 3 ? "bad" : part < 2 / 3 ? "fair" : "good";
  };
  // A length of time in the unit that suits, like those that the commands print.
  const lengthOf = (seconds) => {
    if (Number(seconds.toFixed(1)) < 60) return `${seconds.toFixed(1)} s`;
    return Number((seconds / 60).toFixed(1)) < 60 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
  };
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
  let key = "", limits = null;

  const request = async (path, options = {}) => {
    const headers = key ? { Authorization: "Bearer " + key } : {};
    return fetch(path, { ...options, headers, credentials: "omit" });
  };

  const loadModel = async () => {
    const response = await request("v1/model");
    byId("access").hidden = response.status !== 401;
    if (!response.ok) return;
    const model = await response.json();
    limits = model.limits;
    byId("model").textContent =
      "Scores the quality of speech recordings and marks their bad stretches. " +
      `${model.model_id} predicts ${model.label_scale.title}.`;
    const mib = Math.floor(limits.max_upload_bytes / 1048576), minutes = Math.floor(limits.max_audio_s / 60);
    byId("limits").textContent = `WAV, FLAC, OGG, Opus, MP3, AIFF, … up to ${mib} MiB and ${minutes} minutes`;
  };

  // --- scoring --------------------------------------------------------------------------------------------------------

  const problemText = async (response) => {
    if ((response.headers.get("content-type") || "").includes("json")) {
      const problem = await response.json();
      return `${problem.reason.replaceAll("_", " ")}: ${problem.detail}`;
    }
    return `the service responded with status ${response.status}`;
  };

  const score = async (file, showState) => {
    if (limits && file.size > limits.max_upload_bytes) throw new Error("the file is larger than the service accepts");
    const options = new URLSearchParams({
      frames: true, anomalies: true, spectrogram: true, utterance_id: file.name.slice(0, 255),
    });
    for (let tries = 0; ; tries++) {
      showState("scoring …");
      const response = await request("v1/score?" + options, { method: "POST", body: file });
      if (response.ok) return response.json();
      if (response.status === 401) byId("access").hidden = false;
      if (![429, 503].includes(response.status) || tries === RETRIES) throw new Error(await problemText(response));
      const seconds = Number(response.headers.get("retry-after")) || 1;
      showState(`the service is busy; trying again in ${seconds} s`);
      await pause(seconds);
    }
  };

  // --- drawing --------------------------------------------------------------------------------------------------------

  const colourSpectrogram = async (url) => {
    const grey = new Image();
    grey.src = url;
    await grey.decode();
    const canvas = document.createElement("canvas");
    canvas.width = grey.naturalWidth;
    canvas.height = grey.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(grey, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const table = Array.from({ length: 256 }, (_, shade) => {
      const position = shade / 255 * (MAGMA.length - 1), low = Math.min(Math.floor(position), MAGMA.length - 2);
      return MAGMA[low].map((from, i) => from + (MAGMA[low + 1][i] - from) * (position - low));
    });
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set(table[pixels.data[i]], i);
    context.putImageData(pixels, 0, 0);
    return canvas;
  };

  const tickDistance = (length, ticks) => {
    const rough = length / ticks, power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  };

  const scaleName = (result) => result.label_scale.title.split(" ")[0];

  // Edges of the parts of a plot, in CSS pixels. The lane of causes lies below the curve; without causes it has no height.
  const layout = (canvas, hasCauses = false) => {
    const box = canvas.getBoundingClientRect();
    const left = 54, right = box.width - 6, end = box.height - 24, gap = 14;
    const lane = hasCauses ? end - LANE_HEIGHT : end, bottom = hasCauses ? lane - 4 : end, middle = Math.round(bottom * 0.6);
    return { width: box.width, height: box.height, left, right, top: 6, middle, below: middle + gap, bottom, lane, end };
  };

  const causesOf = (result) => Object.keys(CAUSES).filter((cause) => (result.frame_cause || []).includes(cause));

  // The most frequent cause of some frames, or null if most have none.
  const mainCause = (frameCause, first, end) => {
    const counts = new Map();
    for (let frame = first; frame < end; frame++) counts.set(frameCause[frame], (counts.get(frameCause[frame]) || 0) + 1);
    return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best))[0];
  };

  const draw = (canvas, result, spectrogram) => {
    const area = layout(canvas, causesOf(result).length > 0), ratio = window.devicePixelRatio || 1;
    if (!area.width) return;
    canvas.width = Math.round(area.width * ratio);
    canvas.height = Math.round(area.height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "12px " + getComputedStyle(document.body).fontFamily;
    const x = (seconds) => area.left + (area.right - area.left) * seconds / result.duration_s;
    const { low, high } = result.label_scale;
    const y = (value) => area.bottom - 4 - (area.bottom - area.below - 8) * (value - low) / (high - low);
    const line = (x0, y0, x1, y1) => {
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
    };

    context.imageSmoothingEnabled = spectrogram.width > area.right - area.left;
    const from = x(FRAME_MIDDLE_S / 2), to = x(Math.min(result.duration_s, FRAME_MIDDLE_S / 2 + result.num_frames * FRAME_S));
    context.drawImage(spectrogram, from, area.top, Math.max(1, to - from), area.middle - area.top);

    context.fillStyle = colour("muted");
    context.strokeStyle = colour("grid");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let khz = 0; khz <= 8; khz += 2) {
      const height = area.middle - (area.middle - area.top) * khz / 8;
      context.fillText(khz, area.left - 5, Math.min(Math.max(height, area.top + 6), area.middle - 4));
    }
    const scoreStep = tickDistance(high - low, 4);
    for (let value = Math.ceil(low / scoreStep) * scoreStep; value <= high; value += scoreStep) {
      line(area.left, y(value), area.right, y(value));
      context.fillText(value, area.left - 5, y(value));
    }
    context.textBaseline = "top";
    const timeStep = tickDistance(result.duration_s, Math.max(2, (area.right - area.left) / 90));
    const digits = Math.max(0, -Math.floor(Math.log10(timeStep)));
    for (let time = 0; time <= result.duration_s; time += timeStep) {
      const place = x(time), text = time.toFixed(digits) + (time + timeStep > result.duration_s ? " s" : "");
      context.textAlign = place < area.left + 8 ? "left" : place > area.right - 16 ? "right" : "center";
      context.fillText(text, place, area.end + 6);
      line(place, area.end, place, area.end + 4);
    }

    for (const [title, top, bottom] of [["frequency (kHz)", area.top, area.middle], [`frame score (${scaleName(result)})`, area.below, area.bottom]]) {
      context.save();
      context.textAlign = "center";
      context.textBaseline = "top";
      context.translate(2, (top + bottom) / 2);
      context.rotate(-Math.PI / 2);
      context.fillText(title, 0, 0);
      context.restore();
    }

    context.fillStyle = colour("shade");
    for (const anomaly of result.anomalies) {
      context.fillRect(x(anomaly.start_s), area.below, x(anomaly.end_s) - x(anomaly.start_s), area.bottom - area.below);
      context.save();
      context.strokeStyle = "white";
      context.setLineDash([4, 3]);
      if (result.anomalies.length <= MAX_MARKED_ANOMALIES)
        for (const edge of [anomaly.start_s, anomaly.end_s]) line(x(edge), area.top, x(edge), area.middle);
      context.restore();
    }

    // If several frames share a pixel column, draw their range as a vertical line, and their mean on the curve.
    context.strokeStyle = colour("accent");
    const columns = Math.min(result.frame_score.length, Math.round(area.right - area.left)), means = [];
    context.globalAlpha = 0.3;
    for (let column = 0; column < columns; column++) {
      const first = Math.floor(column * result.num_frames / columns), end = Math.floor((column + 1) * result.num_frames / columns);
      let sum = 0, lowest = Infinity, highest = -Infinity;
      for (let frame = first; frame < end; frame++) {
        const value = result.frame_score[frame];
        sum += value;
        lowest = Math.min(lowest, value);
        highest = Math.max(highest, value);
      }
      const place = x((first + end - 1) / 2 * FRAME_S + FRAME_MIDDLE_S);
      const cause = result.frame_cause && mainCause(result.frame_cause, first, end);
      if (cause) {
        context.globalAlpha = 1;
        context.fillStyle = CAUSES[cause];
        const start = x(first * FRAME_S + FRAME_MIDDLE_S / 2);
        context.fillRect(start, area.lane, x(end * FRAME_S + FRAME_MIDDLE_S / 2) - start, area.end - area.lane);
        context.globalAlpha = 0.3;
      }
      means.push([place, y(sum / (end - first))]);
      if (end - first > 1) line(place, y(lowest), place, y(highest));
    }
    context.globalAlpha = 1;
    context.save();
    context.strokeStyle = colour("ink");
    context.setLineDash([5, 4]);
    const level = Math.floor(y(result.score)) + 0.5; // a line between two rows of pixels would be pale
    line(area.left, level, area.right, level);
    context.restore();
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    for (const point of means) context.lineTo(...point);
    if (means.length === 1) context.arc(...means[0], 2, 0, 7);
    context.stroke();
  };

  // --- showing --------------------------------------------------------------------------------------------------------

  // Names and values of the recording as a whole.
  const valuesOf = (result) => Object.entries(result)
    .filter(([, value]) => value === null || typeof value !== "object" || Array.isArray(value))
    .filter(([name]) => !["frame_score", "frame_speech", "frame_cause", "anomalies", "spectrogram"].includes(name));

  const show = async (card, file, result) => {
    const inside = (name) => card.querySelector(name);
    const { low, high, title } = result.label_scale;
    const spectrogram = await colourSpectrogram(result.spectrogram);
    inside(".score b").textContent = result.score.toFixed(2);
    inside(".verdict").classList.add(gradeOf(result));
    inside(".shaded").hidden = !result.anomalies.length;
    inside(".score span").textContent = `of ${low} to ${high}`;
    inside(".score").title = title;
    inside(".scale i").style.width = `${100 * (result.score - low) / (high - low)}%`;
    inside(".ends span:first-child").textContent = `${low} bad`;
    inside(".ends span:last-child").textContent = `${high} good`;
    const facts = [
      [lengthOf(result.duration_s)], [`${result.sample_rate / 1000} kHz`],
      [result.channels === 1 ? "mono" : `${result.channels} channels`], [result.format],
      [`worst frame ${result.frame_score_min.toFixed(2)}`],
      ...result.flags.map((flag) => [words(flag), "flag"]),
    ];
    inside(".facts").replaceChildren(...facts.map(([text, kind]) => {
      const part = document.createElement("span");
      part.textContent = text;
      if (kind) part.className = kind;
      return part;
    }));

    const player = inside("audio"), canvas = inside("canvas"), playhead = inside(".head"), readout = inside("output");
    player.addEventListener("error", () => { player.hidden = true; inside(".unplayable").hidden = false; });
    player.src = URL.createObjectURL(file);
    const play = (from, to) => {
      if (player.hidden) return;
      player.currentTime = from;
      player.dataset.until = to ?? "";
      player.play().catch(() => {});
    };
    const movePlayhead = () => {
      const area = layout(canvas);
      playhead.hidden = !player.currentTime;
      playhead.style.transform = `translateX(${area.left + (area.right - area.left) * player.currentTime / result.duration_s}px)`;
      if (player.dataset.until && player.currentTime >= Number(player.dataset.until)) {
        player.dataset.until = "";
        player.pause();
      }
      if (!player.paused) requestAnimationFrame(movePlayhead);
    };
    for (const event of ["play", "seeked", "pause"]) player.addEventListener(event, movePlayhead);
    const timeAt = (event) => {
      const area = layout(canvas), part = (event.offsetX - area.left) / (area.right - area.left);
      return Math.min(Math.max(part, 0), 1) * result.duration_s;
    };
    canvas.addEventListener("click", (event) => play(timeAt(event)));
    canvas.addEventListener("pointermove", (event) => {
      const time = timeAt(event);
      const frame = Math.min(Math.max(Math.round((time - FRAME_MIDDLE_S) / FRAME_S), 0), result.num_frames - 1);
      const cause = result.frame_cause && result.frame_cause[frame];
      readout.textContent = `${time.toFixed(2)} s: ${result.frame_score[frame].toFixed(2)}${cause ? `, ${words(cause)}` : ""}`;
    });
    canvas.addEventListener("pointerleave", () => { readout.textContent = ""; });
    canvas.setAttribute("aria-label",
      `Spectrogram and frame scores: ${result.anomalies.length || "no"} bad stretch${result.anomalies.length === 1 ? "" : "es"}`);

    const heard = causesOf(result);
    inside(".legend").hidden = !heard.length;
    inside(".legend").replaceChildren(...heard.map((cause) => {
      const item = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = CAUSES[cause];
      item.append(mark, words(cause));
      return item;
    }));

    inside(".anomalies").replaceChildren(...result.anomalies.map((anomaly) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const cause = anomaly.cause ? ` (${words(anomaly.cause)})` : "";
      button.textContent =
        `bad ${anomaly.start_s.toFixed(1)}-${anomaly.end_s.toFixed(1)} s${cause}, ${anomaly.mean_score.toFixed(2)}`;
      button.title = "play this stretch";
      button.addEventListener("click", () => play(anomaly.start_s, anomaly.end_s));
      item.append(button);
      return item;
    }));
    inside("dl").replaceChildren(...valuesOf(result).map(([name, value]) => {
      const pair = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value === null || (Array.isArray(value) && !value.length) ? "–" : Array.isArray(value) ? value.join(", ") : value;
      pair.append(term, text);
      return pair;
    }));

    inside(".result").hidden = false;
    const redraw = () => { draw(canvas, result, spectrogram); movePlayhead(); };
    new ResizeObserver(redraw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    redraw();
  };

  // --- many files -----------------------------------------------------------------------------------------------------

  // The files in the order in which they were chosen: { file, card, result, error }.
  const entries = [];
  const ORDERS = {
    last: () => 0,
    worst: (one, other) => one.result.score - other.result.score,
    best: (one, other) => other.result.score - one.result.score,
  };
  // Files without a score, and those that are not scored yet, come last.
  const sorted = () => {
    const order = ORDERS[byId("sort").value];
    return [...entries].reverse().sort((one, other) => (one.result && other.result ? order(one, other) : !one.result - !other.result));
  };
  const row = ({ file, card, result, error }) => {
    const line = document.createElement("tr"), link = document.createElement("a");
    link.textContent = file.name;
    link.href = "#" + card.id;
    const bad = result && result.anomalies.reduce((total, one) => total + one.end_s - one.start_s, 0);
    const cells = result
      ? [result.score.toFixed(2), lengthOf(result.duration_s), bad ? lengthOf(bad) : "", result.causes.map(words).join(", ")]
      : [error ? "no score: " + error : ""];
    line.append(...[link, ...cells].map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    }));
    if (result) line.children[1].classList.add("grade", gradeOf(result));
    else { line.children[1].colSpan = 4; line.children[1].classList.add("fault"); }
    return line;
  };
  const median = (values) => {
    const half = values.length >> 1, ranked = [...values].sort((one, other) => one - other);
    return values.length % 2 ? ranked[half] : (ranked[half - 1] + ranked[half]) / 2;
  };
  const sumUp = () => {
    byId("summary").hidden = entries.length < 2;
    const results = entries.flatMap(({ result }) => result || []), failed = entries.filter(({ error }) => error).length;
    byId("summary-title").textContent = `${results.length} of ${entries.length} files scored`;
    const seconds = results.reduce((total, result) => total + result.duration_s, 0);
    const grades = ["good", "fair", "bad"].map((grade) => `${results.filter((result) => gradeOf(result) === grade).length} ${grade}`);
    byId("totals").textContent = results.length
      ? `Median score ${median(results.map(({ score }) => score)).toFixed(2)}; ${grades.join(", ")}; ${lengthOf(seconds)} of audio` +
        (failed ? `; ${failed} without a score` : "")
      : "";
    const order = sorted();
    document.querySelector("#summary tbody").replaceChildren(...order.map(row));
    // A card that moves would stop its player, so cards that are in place stay.
    order.forEach(({ card }, place) => {
      if (byId("results").children[place] !== card) byId("results").insertBefore(card, byId("results").children[place]);
    });
  };
  const csv = () => {
    const names = [...new Set(entries.flatMap(({ result }) => (result ? valuesOf(result).map(([name]) => name) : [])))]
      .filter((name) => name !== "utterance_id");
    const cell = (value) => {
      const text = Array.isArray(value) ? value.join(" ") : String(value ?? "");
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = entries.map(({ file, result, error }) => [file.name, ...names.map((name) => (result ? result[name] : null)), error]);
    return [["file", ...names, "error"], ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
  };
  byId("sort").addEventListener("change", sumUp);
  byId("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff" + csv()], { type: "text/csv" }));
    link.download = "audiosieve-scores.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  const addCard = (file) => {
    const card = byId("result").content.firstElementChild.cloneNode(true);
    const showState = (text) => { card.querySelector(".state").textContent = text; };
    card.querySelector("h2").textContent = file.name;
    card.id = `file-${entries.length + 1}`;
    showState("waiting …");
    byId("results").prepend(card);
    const entry = { file, card, result: null, error: "" };
    entries.push(entry);
    return async () => {
      try {
        const result = await score(file, showState);
        await show(card, file, result);
        entry.result = result;
        showState("");
        card.dataset.done = "scored";
      } catch (error) {
        card.classList.add("failed");
        entry.error = error instanceof TypeError ? "the service cannot be reached" : error.message;
        showState(`no score: ${entry.error}`);
        card.dataset.done = "failed";
      }
      sumUp();
    };
  };

  let last = Promise.resolve();
  const scoreFiles = (files) => {
    const jobs = [...files].map(addCard);
    sumUp();
    for (const job of jobs) last = last.then(job);
  };

  const drop = byId("drop");
  byId("files").addEventListener("change", (event) => { scoreFiles(event.target.files); event.target.value = ""; });
  for (const name of ["dragenter", "dragover"])
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"])
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => scoreFiles(event.dataTransfer.files));
  byId("access").addEventListener("submit", (event) => { event.preventDefault(); key = byId("key").value.trim(); loadModel(); });
  loadModel().catch(() => {}).then(() => { document.documentElement.dataset.ready = "yes"; });
})();

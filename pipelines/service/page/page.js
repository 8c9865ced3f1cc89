"use strict";
// Sends recordings to the service that this page comes from, one after the other, and shows what it hears in them.
(() => {
  const byId = (id) => document.getElementById(id);
  const FRAME_S = 0.016, FRAME_MIDDLE_S = 0.016;
  const RETRIES = 5;
  // Matplotlib's "magma", as in `audiosieve plot`, at nine places.
  const MAGMA = ["000004", "1c1044", "4f127b", "812581", "b5367a", "e55064", "fb8761", "fec287", "fcfdbf"]
    .map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
  let key = "", limits = null;

  const asked = async (path, how = {}) => {
    const headers = key ? { Authorization: "Bearer " + key } : {};
    return fetch(path, { ...how, headers, credentials: "omit" });
  };

  const greet = async () => {
    const answer = await asked("v1/model");
    byId("access").hidden = answer.status !== 401;
    if (!answer.ok) return;
    const model = await answer.json();
    limits = model.limits;
    byId("model").textContent =
      `How good is a recording, and where is it bad? ${model.model_id} predicts ${model.label_scale.title}.`;
    const mib = Math.floor(limits.max_upload_bytes / 1048576), minutes = Math.floor(limits.max_audio_s / 60);
    byId("limits").textContent = `WAV, FLAC, OGG, Opus, MP3, AIFF, … up to ${mib} MiB and ${minutes} minutes`;
  };

  // --- asking ---------------------------------------------------------------------------------------------------------

  const explained = async (answer) => {
    if ((answer.headers.get("content-type") || "").includes("json")) {
      const problem = await answer.json();
      return `${problem.reason.replaceAll("_", " ")}: ${problem.detail}`;
    }
    return `the service answered with status ${answer.status}`;
  };

  const score = async (file, say) => {
    if (limits && file.size > limits.max_upload_bytes) throw new Error("it is larger than the service takes");
    const wanted = new URLSearchParams({
      frames: true, anomalies: true, spectrogram: true, utterance_id: file.name.slice(0, 255),
    });
    for (let tries = 0; ; tries++) {
      say("scoring …");
      const answer = await asked("v1/score?" + wanted, { method: "POST", body: file });
      if (answer.ok) return answer.json();
      if (answer.status === 401) byId("access").hidden = false;
      if (![429, 503].includes(answer.status) || tries === RETRIES) throw new Error(await explained(answer));
      const seconds = Number(answer.headers.get("retry-after")) || 1;
      say(`the service is busy; trying again in ${seconds} s`);
      await pause(seconds);
    }
  };

  // --- drawing --------------------------------------------------------------------------------------------------------

  const coloured = async (url) => {
    const grey = new Image();
    grey.src = url;
    await grey.decode();
    const canvas = document.createElement("canvas");
    canvas.width = grey.naturalWidth;
    canvas.height = grey.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(grey, 0, 0);
    const picture = pen.getImageData(0, 0, canvas.width, canvas.height);
    const table = Array.from({ length: 256 }, (_, shade) => {
      const at = shade / 255 * (MAGMA.length - 1), low = Math.min(Math.floor(at), MAGMA.length - 2);
      return MAGMA[low].map((from, i) => from + (MAGMA[low + 1][i] - from) * (at - low));
    });
    for (let i = 0; i < picture.data.length; i += 4) picture.data.set(table[picture.data[i]], i);
    pen.putImageData(picture, 0, 0);
    return canvas;
  };

  const step = (length, ticks) => {
    const rough = length / ticks, power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  };

  // Where all is in a plot, in points of the page.
  const layout = (canvas) => {
    const box = canvas.getBoundingClientRect();
    const left = 38, right = box.width - 6, bottom = box.height - 24, gap = 14;
    const middle = Math.round(bottom * 0.6);
    return { width: box.width, height: box.height, left, right, top: 6, middle, below: middle + gap, bottom };
  };

  const draw = (canvas, found, picture) => {
    const at = layout(canvas), ratio = window.devicePixelRatio || 1;
    if (!at.width) return;
    canvas.width = Math.round(at.width * ratio);
    canvas.height = Math.round(at.height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px " + getComputedStyle(document.body).fontFamily;
    const x = (seconds) => at.left + (at.right - at.left) * seconds / found.duration_s;
    const { low, high } = found.label_scale;
    const y = (value) => at.bottom - 4 - (at.bottom - at.below - 8) * (value - low) / (high - low);
    const line = (x0, y0, x1, y1) => { pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke(); };

    pen.imageSmoothingEnabled = picture.width > at.right - at.left;
    const from = x(FRAME_MIDDLE_S / 2), to = x(Math.min(found.duration_s, FRAME_MIDDLE_S / 2 + found.num_frames * FRAME_S));
    pen.drawImage(picture, from, at.top, Math.max(1, to - from), at.middle - at.top);

    pen.fillStyle = colour("quiet");
    pen.strokeStyle = colour("grid");
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let khz = 0; khz <= 8; khz += 2) {
      const height = at.middle - (at.middle - at.top) * khz / 8;
      pen.fillText(khz === 8 ? "8 kHz" : khz, at.left - 5, Math.min(Math.max(height, at.top + 6), at.middle - 4));
    }
    const scores = step(high - low, 4);
    for (let value = Math.ceil(low / scores) * scores; value <= high; value += scores) {
      line(at.left, y(value), at.right, y(value));
      pen.fillText(value, at.left - 5, y(value));
    }
    pen.textBaseline = "top";
    const seconds = step(found.duration_s, Math.max(2, (at.right - at.left) / 90));
    const digits = Math.max(0, -Math.floor(Math.log10(seconds)));
    for (let time = 0; time <= found.duration_s; time += seconds) {
      const place = x(time), text = time.toFixed(digits) + (time + seconds > found.duration_s ? " s" : "");
      pen.textAlign = place < at.left + 8 ? "left" : place > at.right - 16 ? "right" : "center";
      pen.fillText(text, place, at.bottom + 6);
      line(place, at.bottom, place, at.bottom + 4);
    }

    pen.fillStyle = colour("shade");
    for (const bad of found.anomalies) {
      pen.fillRect(x(bad.start_s), at.below, x(bad.end_s) - x(bad.start_s), at.bottom - at.below);
      pen.save();
      pen.strokeStyle = "white";
      pen.setLineDash([4, 3]);
      if (found.anomalies.length <= 20) for (const edge of [bad.start_s, bad.end_s]) line(x(edge), at.top, x(edge), at.middle);
      pen.restore();
    }

    // Where several frames share a point of the page: from their lowest to their highest, with their mean.
    pen.strokeStyle = colour("accent");
    const columns = Math.min(found.frame_score.length, Math.round(at.right - at.left)), means = [];
    pen.globalAlpha = 0.3;
    for (let column = 0; column < columns; column++) {
      const first = Math.floor(column * found.num_frames / columns), end = Math.floor((column + 1) * found.num_frames / columns);
      let sum = 0, lowest = Infinity, highest = -Infinity;
      for (let frame = first; frame < end; frame++) {
        const value = found.frame_score[frame];
        sum += value;
        lowest = Math.min(lowest, value);
        highest = Math.max(highest, value);
      }
      const place = x((first + end - 1) / 2 * FRAME_S + FRAME_MIDDLE_S);
      means.push([place, y(sum / (end - first))]);
      if (end - first > 1) line(place, y(lowest), place, y(highest));
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    pen.beginPath();
    for (const point of means) pen.lineTo(...point);
    if (means.length === 1) pen.arc(...means[0], 2, 0, 7);
    pen.stroke();
  };

  // --- showing --------------------------------------------------------------------------------------------------------

  const show = async (card, file, found) => {
    const inside = (name) => card.querySelector(name);
    const { low, high, title } = found.label_scale;
    const picture = await coloured(found.spectrogram);
    inside(".score b").textContent = found.score.toFixed(2);
    inside(".score span").textContent = `of ${low} to ${high}`;
    inside(".score").title = title;
    inside(".scale i").style.width = `${100 * (found.score - low) / (high - low)}%`;
    inside(".ends span:first-child").textContent = `${low} bad`;
    inside(".ends span:last-child").textContent = `${high} good`;
    const facts = [
      [`${found.duration_s.toFixed(1)} s`], [`${found.sample_rate / 1000} kHz`],
      [found.channels === 1 ? "mono" : `${found.channels} channels`], [found.format],
      [`worst frame ${found.frame_score_min.toFixed(2)}`],
      ...found.flags.map((flag) => [flag.replaceAll("_", " "), "flag"]),
    ];
    inside(".facts").replaceChildren(...facts.map(([text, kind]) => {
      const part = document.createElement("span");
      part.textContent = text;
      if (kind) part.className = kind;
      return part;
    }));

    const player = inside("audio"), canvas = inside("canvas"), head = inside(".head"), said = inside("output");
    player.addEventListener("error", () => { player.hidden = true; inside(".unplayable").hidden = false; });
    player.src = URL.createObjectURL(file);
    const hear = (from, to) => {
      if (player.hidden) return;
      player.currentTime = from;
      player.dataset.until = to ?? "";
      player.play().catch(() => {});
    };
    const follow = () => {
      const at = layout(canvas);
      head.hidden = !player.currentTime;
      head.style.transform = `translateX(${at.left + (at.right - at.left) * player.currentTime / found.duration_s}px)`;
      if (player.dataset.until && player.currentTime >= Number(player.dataset.until)) {
        player.dataset.until = "";
        player.pause();
      }
      if (!player.paused) requestAnimationFrame(follow);
    };
    for (const event of ["play", "seeked", "pause"]) player.addEventListener(event, follow);
    const timeAt = (event) => {
      const at = layout(canvas), part = (event.offsetX - at.left) / (at.right - at.left);
      return Math.min(Math.max(part, 0), 1) * found.duration_s;
    };
    canvas.addEventListener("click", (event) => hear(timeAt(event)));
    canvas.addEventListener("pointermove", (event) => {
      const time = timeAt(event);
      const frame = Math.min(Math.max(Math.round((time - FRAME_MIDDLE_S) / FRAME_S), 0), found.num_frames - 1);
      said.textContent = `${time.toFixed(2)} s: ${found.frame_score[frame].toFixed(2)}`;
    });
    canvas.addEventListener("pointerleave", () => { said.textContent = ""; });
    canvas.setAttribute("aria-label",
      `Spectrogram and frame scores: ${found.anomalies.length || "no"} bad stretch${found.anomalies.length === 1 ? "" : "es"}`);

    inside(".anomalies").replaceChildren(...found.anomalies.map((bad) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.textContent = `bad ${bad.start_s.toFixed(1)}-${bad.end_s.toFixed(1)} s, ${bad.mean_score.toFixed(2)}`;
      button.title = "hear it";
      button.addEventListener("click", () => hear(bad.start_s, bad.end_s));
      item.append(button);
      return item;
    }));
    const known = Object.entries(found).filter(([, value]) => value === null || typeof value !== "object" || Array.isArray(value))
      .filter(([name]) => !["frame_score", "anomalies", "spectrogram"].includes(name));
    inside("dl").replaceChildren(...known.map(([name, value]) => {
      const pair = document.createElement("div"), term = document.createElement("dt"), told = document.createElement("dd");
      term.textContent = name;
      told.textContent = value === null || (Array.isArray(value) && !value.length) ? "–" : Array.isArray(value) ? value.join(", ") : value;
      pair.append(term, told);
      return pair;
    }));

    inside(".found").hidden = false;
    const redraw = () => { draw(canvas, found, picture); follow(); };
    new ResizeObserver(redraw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    redraw();
  };

  const take = (file) => {
    const card = byId("result").content.firstElementChild.cloneNode(true);
    const say = (text) => { card.querySelector(".state").textContent = text; };
    card.querySelector("h2").textContent = file.name;
    say("waiting …");
    byId("results").prepend(card);
    return async () => {
      try {
        await show(card, file, await score(file, say));
        say("");
        card.dataset.done = "scored";
      } catch (error) {
        card.classList.add("failed");
        say(`no score: ${error instanceof TypeError ? "the service cannot be reached" : error.message}`);
        card.dataset.done = "failed";
      }
    };
  };

  let last = Promise.resolve();
  const takeAll = (files) => {
    const jobs = [...files].map(take);
    for (const job of jobs) last = last.then(job);
  };

  const drop = byId("drop");
  byId("files").addEventListener("change", (event) => { takeAll(event.target.files); event.target.value = ""; });
  for (const name of ["dragenter", "dragover"])
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"])
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => takeAll(event.dataTransfer.files));
  byId("access").addEventListener("submit", (event) => { event.preventDefault(); key = byId("key").value.trim(); greet(); });
  greet().catch(() => {}).then(() => { document.documentElement.dataset.ready = "yes"; });
})();

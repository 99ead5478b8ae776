"use strict";
// Fills the charts. `report` holds their specifications, the fleet, and each machine; page.py says what is where.
const HOUR = 3600e3;
const SHOWN_MACHINES = 40;
const ROW = 20;
const LETTER_WIDTH = 13;
const PIXELS_OF_NAMES = 130;
const ARRIVALS = { ".": "on time", "l": "late", "t": "too late", " ": "nothing came" };
let report;
const picked = { machine: 0, reading: 0 };
const find = (id) => document.getElementById(id);

async function unpack() {
  const bytes = Uint8Array.from(atob(find("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// Layers without data are left out: Vega would warn of their scales.
function draw(name, datasets, { rows, change = () => {} } = {}) {
  const spec = structuredClone(report.charts[name]);
  spec.datasets = datasets;
  if (spec.layer) spec.layer = spec.layer.filter((layer) => datasets[layer.data.name].length > 0);
  if (rows) spec.height = ROW * new Set(rows).size;
  change(spec);
  return vegaEmbed(find(name), spec, { actions: false, ast: true, renderer: "svg" });
}

// How many hours a cell holds, so that its letter has room.
function hoursOfCell() {
  const columns = Math.max(4, Math.floor((find("changes").clientWidth - PIXELS_OF_NAMES) / LETTER_WIDTH));
  const least = report.hours / columns;
  return [1, 2, 3, 4, 6, 8, 12, 24, 48, 168, 720].find((hours) => hours >= least) ?? 8760;
}

// Cuts the hours of the span into cells, and makes one of each that has something to tell.
function cutCells(hours, make) {
  const cells = [];
  for (let first = 0; first < report.hours; first += hours) {
    const last = Math.min(first + hours, report.hours);
    const start = report.start + first * HOUR, end = report.start + last * HOUR;
    const cell = make(first, last);
    if (cell !== null) cells.push({ start, end, middle: (start + end) / 2, ...cell });
  }
  return cells;
}

const shownMachines = () => report.machines.slice(0, SHOWN_MACHINES);
const shownFailures = () => shownMachines().flatMap((machine) =>
  machine.failures.map(([start, code]) => ({ machine: machine.id, start, code })));

function drawZones() {
  const at = picked.reading;
  const hours = hoursOfCell();
  find("zones-part").hidden = report.readings[at].zones.length === 0;
  if (find("zones-part").hidden) return null;
  const cells = shownMachines().flatMap((machine) => cutCells(hours, (first, last) => {
    const worst = [...machine.readings[at].zones.slice(first, last)].sort().pop();
    return { machine: machine.id, zone: worst === " " ? "none" : worst };
  }));
  const letters = cells.filter((cell) => cell.zone !== "none");
  const rows = cells.map((cell) => cell.machine);
  return draw("zones", { cells, letters, failures: shownFailures() }, { rows });
}

// A machine's change against its own baseline, at each hour that the page has.
function measureChange(machine) {
  const { means, baseline } = machine.readings[picked.reading];
  const { is_ratio: isRatio } = report.readings[picked.reading];
  return means[report.steady].map((mean) =>
    mean === null || baseline === null || (isRatio && baseline <= 0) ? null : isRatio ? mean / baseline : mean - baseline);
}

function drawChanges() {
  const { is_ratio: isRatio, unit } = report.readings[picked.reading];
  const { median } = report.fleet[picked.reading];
  const hours = Math.max(hoursOfCell(), report.every);
  let reach = isRatio ? Math.log(1.2) : 0;
  const cells = shownMachines().flatMap((machine) => {
    const changes = measureChange(machine);
    return cutCells(hours, (first, last) => {
      let most = null;
      changes.forEach((change, k) => {
        const hour = (k + 1) * report.every - 1;
        if (hour < first || hour >= last || change === null || median[hour] === null) return;
        const excess = isRatio ? Math.log(change / median[hour]) : change - median[hour];
        if (Number.isFinite(excess) && (most === null || Math.abs(excess) > Math.abs(most))) most = excess;
      });
      if (most === null) return null;
      reach = Math.max(reach, Math.abs(most));
      const text = isRatio ? `× ${Math.exp(most).toFixed(2)}` : `${most > 0 ? "+" : ""}${most.toPrecision(3)} ${unit}`;
      return { machine: machine.id, colour: most, text };
    });
  });
  find("changes-title").textContent = "Change against own baseline, less the fleet's: "
    + (isRatio ? `white is none, the darkest × ${Math.exp(reach).toFixed(2)}` : `white is none, the darkest ${reach.toPrecision(2)} ${unit}`);
  if (cells.length === 0) return find("changes").replaceChildren("Too few hours for baselines.");
  const change = (spec) => { spec.params.find((each) => each.name === "reach").value = reach || 1; };
  return draw("changes", { cells, failures: shownFailures() }, { rows: cells.map((cell) => cell.machine), change });
}

function cutSegments(arrivals) {
  const blocks = Math.ceil((report.end - report.start) / report.block);
  const letters = arrivals.padEnd(blocks, " ").slice(0, blocks);
  const segments = [];
  for (const { 0: run, index } of letters.matchAll(/(.)\1*/g)) {
    const start = report.start + index * report.block;
    segments.push({
      start, end: Math.min(start + run.length * report.block, report.end), arrival: ARRIVALS[run[0]],
    });
  }
  return segments;
}

function drawFreshness() {
  const segments = shownMachines().flatMap((machine) =>
    cutSegments(machine.arrivals).map((segment) => ({ machine: machine.id, ...segment })));
  return draw("freshness", { segments }, { rows: segments.map((segment) => segment.machine) });
}

function drawReadings() {
  const machine = report.machines[picked.machine];
  const reading = report.readings[picked.reading];
  const own = machine.readings[picked.reading];
  const gaps = own.block.slice(1).map((block, k) => block - own.block[k]).sort((a, b) => a - b);
  const usual = 1 + (gaps[Math.floor(gaps.length / 2)] ?? 1);  // the line goes on over a block that is missing
  let piece = 0;
  const blocks = own.block.map((block, k) => {
    if (k > 0 && block - own.block[k - 1] > usual) piece += 1;
    const start = report.start + block * report.block;
    return {
      start, end: start + report.block, middle: start + report.block / 2, piece,
      low: own.low[k], mean: own.mean[k], high: own.high[k],
    };
  });
  const means = report.windows.flatMap((label, w) => own.means[w].map((mean, k) => ({
    start: report.start + (k + 1) * report.every * HOUR, mean, window: `${label} mean`,
  }))).filter((row) => row.mean !== null);
  let low = Infinity, high = -Infinity;
  for (const row of blocks) { low = Math.min(low, row.low); high = Math.max(high, row.high); }
  for (const row of means) { low = Math.min(low, row.mean); high = Math.max(high, row.mean); }
  if (low > high) [low, high] = [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  const [bottom, top] = [low - 2 * room, high + room];
  const ends = reading.zones.length ? [-Infinity, ...reading.zones, Infinity] : [];
  const zones = ends.slice(1).map((end, k) => ({
    zone: "ABCD"[k], low: Math.max(bottom, ends[k]), high: Math.min(top, end),
  })).filter((zone) => zone.low < zone.high).map((zone) => ({ ...zone, middle: (zone.low + zone.high) / 2 }));
  const centre = (report.start + report.end) / 2;
  const failures = machine.failures.map(([start, code]) => (
    start > centre ? { start, code, align: "right", shift: -5 } : { start, code, align: "left", shift: 5 }));
  find("readings-title").textContent = `${reading.name}${reading.unit ? `, ${reading.unit}` : ""}`;
  const arrivals = cutSegments(machine.arrivals);
  const change = (spec) => {
    for (const layer of spec.layer) if (layer.encoding.y?.scale) layer.encoding.y.scale.domain = [bottom, top];
  };
  return draw("readings", { zones, blocks, means, failures, arrivals }, { change });
}

function drawBaseline() {
  const machine = report.machines[picked.machine];
  const { name, unit, is_ratio: isRatio } = report.readings[picked.reading];
  const { baseline } = machine.readings[picked.reading];
  const { low, median, high } = report.fleet[picked.reading];
  const at = (hour) => report.start + (hour + 1) * HOUR;
  const fleet = median.map((middle, hour) => ({ start: at(hour), low: low[hour], median: middle, high: high[hour] }))
    .filter((row) => row.median !== null);
  const changes = measureChange(machine).map((change, k) => ({ start: at((k + 1) * report.every - 1), change }))
    .filter((row) => row.change !== null);
  const window = report.windows[report.steady];
  find("baseline-note").textContent = baseline === null
    ? `${name} has too few hours here for a baseline.`
    : `Purple: ${window} mean ${isRatio ? "divided by" : "less"} ${baseline} ${unit}, its median in the first half of `
      + "the hours shown. Grey: the fleet, each machine against its own (10 to 90 %, and the median).";
  find("baseline").hidden = baseline === null;
  if (baseline === null) return null;
  const failures = machine.failures.map(([start]) => ({ start }));
  return draw("baseline", { fleet, machine: changes, failures });
}

function drawRejected() {
  find("rejected-none").hidden = report.rejected.length > 0;
  find("rejected").hidden = report.rejected.length === 0;
  if (report.rejected.length === 0) return null;
  const hours = hoursOfCell();
  const counts = new Map();
  for (const [reason, hour, lines] of report.rejected) {
    const cell = Math.floor((hour - report.start) / HOUR / hours);
    const key = JSON.stringify([reason, cell]);
    counts.set(key, (counts.get(key) ?? 0) + lines);
  }
  const cells = [...counts].map(([key, lines]) => {
    const [reason, cell] = JSON.parse(key);
    const start = Math.max(report.start, report.start + cell * hours * HOUR);
    const end = Math.min(report.end, report.start + (cell + 1) * hours * HOUR);
    return { reason, start, end, middle: (start + end) / 2, lines };
  }).filter((cell) => cell.start < cell.end);
  const numbers = cells.filter((cell) => cell.lines < 100);
  return draw("rejected", { cells, numbers }, { rows: cells.map((cell) => cell.reason) });
}

function drawMachine() {
  find("name").textContent = report.machines[picked.machine].id;
  find("machine").value = picked.machine;
  document.querySelectorAll("tr.picked").forEach((row) => row.classList.remove("picked"));
  document.querySelector(`button[data-machine="${picked.machine}"]`)?.closest("tr").classList.add("picked");
  return Promise.all([drawReadings(), drawBaseline()]);
}

const drawFleet = () => Promise.all([drawZones(), drawChanges(), drawFreshness(), drawRejected()]);

function showRows() {
  const wanted = find("find").value.trim().toLowerCase();
  const rows = [...document.querySelectorAll("section tbody tr:has(button)")];
  const all = find("more").dataset.all === "true";
  rows.forEach((row, number) => {
    const name = row.querySelector("button").textContent.toLowerCase();
    row.hidden = wanted ? !name.includes(wanted) : !all && number >= report.shown_rows;
  });
  find("more").hidden = all || wanted !== "" || rows.length <= report.shown_rows;
  find("more").textContent = `Show all ${rows.length}`;
}

function offer(select, names, take) {
  select.replaceChildren(...names.map((name, number) => new Option(name, number)));
  select.addEventListener("change", () => take(Number(select.value)));
}

async function begin() {
  report = await unpack();
  if (report.machines.length === 0) { document.body.dataset.ready = "true"; return; }
  const pickMachine = (number) => { picked.machine = number; return drawMachine(); };
  offer(find("machine"), report.machines.map((machine) => machine.id), pickMachine);
  offer(find("reading"), report.readings.map((reading) => reading.name), (number) => {
    picked.reading = number;
    return Promise.all([drawMachine(), drawFleet()]);
  });
  find("fleet-note").textContent = report.machines.length > SHOWN_MACHINES
    ? `The worst ${SHOWN_MACHINES} of ${report.machines.length} machines; pick any other above.` : "";
  document.querySelectorAll("button[data-machine]").forEach((button) => button.addEventListener("click", () => {
    pickMachine(Number(button.dataset.machine));
    find("one").scrollIntoView({ behavior: "smooth" });
  }));
  find("find").addEventListener("input", showRows);
  find("more").addEventListener("click", () => { find("more").dataset.all = "true"; showRows(); });
  showRows();
  let width = document.body.clientWidth;
  addEventListener("resize", () => {
    if (Math.abs(document.body.clientWidth - width) < 40) return;
    width = document.body.clientWidth;
    drawFleet();
  });
  await Promise.all([drawMachine(), drawFleet()]);
  document.body.dataset.ready = "true";
}

begin();

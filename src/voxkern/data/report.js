"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  const chooser = document.getElementById("profile");
  const status = document.getElementById("range");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const worst = ["fail", "warning", "pass"];
  const last = Math.max(data.duration, 0.001);
  const PAPER = 670; // px of a chart on A4 or letter, which is not known before it is printed
  let shown = 0; // index of the result in the chart
  let range = [0, last]; // seconds
  let printing = false;

  const themes = {
    light: {
      ink: "#1c1f24", soft: "#565d68", line: "#e3e5e9", paper: "#ffffff", flashes: "#0b5c9e",
      red: "#c2185b", luminance: "#565d68", fail: "rgba(179,32,28,.16)",
      warning: "rgba(200,130,0,.18)",
    },
    dark: {
      ink: "#e7e9ec", soft: "#a8afba", line: "#31363f", paper: "#1c1f25", flashes: "#7ab8f0",
      red: "#ff85b3", luminance: "#b9c0ca", fail: "rgba(255,143,135,.24)",
      warning: "rgba(240,182,90,.22)",
    },
  };

  const theme = () => themes[dark.matches && !printing ? "dark" : "light"];
  // The axis is one of dates, for its labels; a bare number of four digits would be a year.
  const date = (seconds) => new Date(seconds * 1000).toISOString().slice(0, -1);

  function clock(seconds) {
    const whole = Math.round(seconds * 100);
    const [hours, minutes] = [Math.floor(whole / 360000), Math.floor(whole / 6000) % 60];
    const rest = ((whole % 6000) / 100).toFixed(2).padStart(5, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }

  function traces(result, colours) {
    const x = result.time.map(date);
    const line = (key, name, axis, color, extra, showlegend = true) => ({
      x, y: result[key], name, showlegend, yaxis: axis, type: "scatter",
      mode: x.length > 1 ? "lines" : "markers", line: { color, width: 2, ...extra },
      marker: { color },
      hovertemplate: axis === "y" ? "%{y:.3~g}" : "%{y:.3~p}",
    });
    return [
      line("flashes", "Flashes", "y", colours.flashes, { shape: "hv" }),
      line("red_flashes", "Red flashes", "y", colours.red, { shape: "hv", dash: "dash" }),
      line("area", "Area", "y2", colours.flashes, { shape: "hv" }, false),
      line("red_area", "Red area", "y2", colours.red, { shape: "hv", dash: "dash" }, false),
      // Thin and pale: the curve of a strobe would else be a pattern of stripes itself.
      { ...line("luminance", "Mean luminance", "y3", colours.luminance, { width: 1 }, false),
        opacity: 0.6 },
    ];
  }

  function shapes(result, colours) {
    const incidents = result.incidents.map((incident) => ({
      type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, layer: "below",
      x0: date(incident.start), x1: date(incident.end),
      fillcolor: colours[incident.severity], line: { width: 1, color: colours[incident.severity] },
    }));
    const limit = (value, yref) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, yref, y0: value, y1: value,
      line: { color: colours.ink, width: 1.5, dash: "dot" },
      label: { text: "limit", textposition: "end", yanchor: "bottom", padding: 2,
        font: { size: 11, color: colours.soft } },
    });
    const { flashes, area } = result.limits;
    if (flashes) incidents.push(limit(flashes, "y"));
    if (area) incidents.push(limit(area, "y2"));
    return incidents;
  }

  function layout(result, colours) {
    const narrow = !printing && chart.clientWidth < 520;
    const highest = (keys, least) =>
      1.12 * keys.reduce((most, key) => result[key].reduce((a, b) => Math.max(a, b), most), least);
    const axis = (domain, top, tickformat) => ({
      domain, range: [0, top], tickformat, gridcolor: colours.line, zerolinecolor: colours.line,
      fixedrange: true, nticks: 5, automargin: true,
    });
    const title = (text, y) => ({
      text: `<b>${text}</b>`, xref: "paper", yref: "paper", x: 0, y, xanchor: "left",
      yanchor: "bottom", showarrow: false,
    });
    const seconds = last >= 3600 ? "%-H:%M:%S" : "%-M:%S";
    return {
      font: { family: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif",
        color: colours.ink, size: 13 },
      autosize: !printing, width: printing ? PAPER : undefined,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 44, r: 12, t: narrow ? 64 : 32, b: 44 },
      hovermode: "x unified", hoversubplots: "axis", dragmode: narrow ? false : "zoom",
      hoverlabel: { bgcolor: colours.paper, bordercolor: colours.soft, font: { color: colours.ink } },
      legend: {
        orientation: "h", y: narrow ? 1.06 : 1, yanchor: "bottom", x: narrow ? 0 : 1,
        xanchor: narrow ? "left" : "right",
      },
      xaxis: {
        type: "date", range: range.map(date), anchor: "y3", gridcolor: colours.line,
        hoverformat: `${seconds}.%2f`, title: { text: "Time (minutes:seconds)", font: { size: 13 } },
        tickformatstops: [
          { dtickrange: [null, 999], value: `${seconds}.%2f` },
          { dtickrange: [1000, null], value: seconds },
        ],
      },
      yaxis: axis([0.72, 1], highest(["flashes", "red_flashes"], 4)),
      yaxis2: axis([0.36, 0.64], Math.min(1.05, highest(["area", "red_area"], 0.3)), ".0%"),
      yaxis3: axis([0, 0.28], Math.min(1.05, highest(["luminance"], 0.2)), ".0%"),
      annotations: [
        title("Flashes in the last second", 1), title("Area that flashes too often", 0.64),
        title("Mean luminance", 0.28),
      ],
      shapes: shapes(result, colours),
    };
  }

  function draw() {
    const result = data.results[shown];
    const options = { displaylogo: false, responsive: true, displayModeBar: false };
    return Plotly.react(chart, traces(result, theme()), layout(result, theme()), options);
  }

  // What a person who does not see the chart hears when it moves.
  function describe() {
    const result = data.results[shown];
    const inside = result.time.map((t, i) => i).filter(
      (i) => result.time[i] >= range[0] && result.time[i] <= range[1]);
    const most = (key) => inside.reduce((a, i) => Math.max(a, result[key][i]), 0);
    const flashes = Math.max(most("flashes"), most("red_flashes"));
    const area = Math.max(most("area"), most("red_area"));
    const incidents = result.incidents.filter((i) => i.end >= range[0] && i.start <= range[1]);
    status.textContent = `${result.name}, ${clock(range[0])} to ${clock(range[1])}: ` +
      `${incidents.length} ${incidents.length === 1 ? "incident" : "incidents"}, ` +
      `at most ${+flashes.toFixed(1)} flashes a second, area at most ${(100 * area).toFixed(0)} %.`;
  }

  function show(from, to) {
    const width = Math.min(Math.max(to - from, Math.min(0.1, last)), last);
    const start = Math.min(Math.max(from, 0), last - width);
    range = [start, start + width];
    describe();
    return Plotly.relayout(chart, { "xaxis.range": range.map(date) });
  }

  function choose(index) {
    shown = index;
    if (chooser) chooser.value = String(index);
    describe();
    return draw();
  }

  const zoom = (factor) => {
    const [middle, half] = [(range[0] + range[1]) / 2, ((range[1] - range[0]) / 2) * factor];
    return show(middle - half, middle + half);
  };
  const move = (share) => {
    const step = share * (range[1] - range[0]);
    return show(range[0] + step, range[1] + step);
  };
  const actions = {
    all: () => show(0, last), in: () => zoom(0.5), out: () => zoom(2),
    back: () => move(-0.25), on: () => move(0.25),
  };
  const keys = {
    "+": "in", "=": "in", "-": "out", ArrowLeft: "back", ArrowRight: "on", 0: "all", Home: "all",
  };

  for (const button of document.querySelectorAll("button[data-do]")) {
    button.addEventListener("click", () => actions[button.dataset.do]());
  }
  for (const button of document.querySelectorAll("button[data-incident]")) {
    button.addEventListener("click", async () => {
      const { profile, incident } = button.dataset;
      await choose(Number(profile));
      const { start, end } = data.results[shown].incidents[Number(incident)];
      const around = Math.max(0.5, 0.25 * (end - start));
      await show(start - around, end + around);
      document.getElementById("frame").focus();
    });
  }
  document.getElementById("frame").addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  if (chooser) chooser.addEventListener("change", () => choose(Number(chooser.value)));
  dark.addEventListener("change", draw);
  addEventListener("beforeprint", () => { printing = true; draw(); });
  addEventListener("afterprint", () => { printing = false; draw(); });

  shown = data.results.reduce((best, result, index, all) =>
    worst.indexOf(result.verdict) < worst.indexOf(all[best].verdict) ? index : best, 0);
  if (chooser) chooser.value = String(shown);
  draw().then(() => {
    describe();
    chart.on("plotly_relayout", (change) => {
      if (change["xaxis.autorange"]) return actions.all();
      if (!("xaxis.range[0]" in change)) return;
      const seconds = (value) =>
        (typeof value === "number" ? value : Date.parse(`${value.replace(" ", "T")}Z`)) / 1000;
      range = [seconds(change["xaxis.range[0]"]), seconds(change["xaxis.range[1]"])];
      describe();
    });
    document.documentElement.dataset.ready = "true";
  });
})();

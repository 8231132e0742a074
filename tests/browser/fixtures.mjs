// Documents as GET /stats gives them, by name; always the same ones, so that pictures can be compared.

const NOW = Date.parse("2026-11-22T21:40:00Z");
const HOUR_MS = 3_600_000;
const iso = (ms) => new Date(ms).toISOString().replace(".000Z", "Z");

export const EVIL = [
  `<img src=x onerror="window.injected=1">`,
  `"><script>window.injected=1</script>`,
  `<svg/onload=window.injected=1>`,
  `javascript:window.injected=1`,
  `</table></main><h1>gone</h1>`,
  `{{constructor.constructor("window.injected=1")()}}`,
];

/** Numbers between 0 and 1 that are the same in every run. */
function random(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function attempts(provider, model, total, failed, cancelled, pace, outcomes) {
  const answered = total - failed - cancelled;
  const decided = answered + failed;
  const row = {
    provider, model, success_rate: decided ? answered / decided : 0, total_requests: total, failed, cancelled,
    outcomes: outcomes.map(([outcome, count]) => ({ outcome, count })),
    requests: answered, prompt_tokens: answered * 812, completion_tokens: answered * 233, total_tokens: answered * 1045,
    cached_tokens: answered * 90, reasoning_tokens: 0,
    first_token_ms: { p50: pace, p95: Math.round(pace * 2.9) }, total_ms: { p50: pace * 7, p95: pace * 31 },
  };
  if (model === undefined) delete row.model;
  return row;
}

function overTime(hours, busy, next) {
  const step = hours > 168 ? 24 * HOUR_MS : HOUR_MS;
  const first = Math.floor((NOW - hours * HOUR_MS) / step) * step;
  const points = [];
  for (let time = first; time < NOW; time += step) {
    const day = 0.35 + 0.65 * Math.sin((((time / HOUR_MS) % 24) / 24) * Math.PI) ** 2;
    const requests = Math.round(busy * (step / HOUR_MS) * (hours > 168 ? 0.6 : day) * (0.75 + next() / 2));
    const bad = next() > 0.93 ? 0.18 : 0.012;
    const [failed, cancelled] = [Math.round(requests * bad * next()), Math.round(requests * 0.02 * next())];
    points.push({ time: iso(time), requests, succeeded: requests - failed - cancelled, failed, cancelled, total_tokens: requests * 1045 });
  }
  return points;
}

const live = (channels) => ({ version: "0.1.0", uptime_s: 356_400, queued_rows: 0, dropped_rows: 0, channels });
const health = (provider, in_flight, succeeded, failed, resting = []) =>
  ({ provider, in_flight, succeeded, failed, cancelled: Math.floor(succeeded / 90), resting });

function document(hours, points, parts) {
  const sum = (field) => points.reduce((total, point) => total + point[field], 0);
  return {
    time_range: `Last ${hours} hours`,
    channel_model_success_rates: [], channel_success_rates: [], model_request_counts: [], endpoint_request_counts: [], ip_request_counts: [],
    hours, from: iso(NOW - hours * HOUR_MS), to: iso(NOW),
    requests: {
      total: sum("requests"), succeeded: sum("succeeded"), failed: sum("failed"), cancelled: sum("cancelled"), flagged: 2,
      prompt_tokens: sum("requests") * 812, completion_tokens: sum("requests") * 233, total_tokens: sum("total_tokens"),
      cached_tokens: sum("requests") * 90, reasoning_tokens: sum("requests") * 31,
    },
    requests_over_time: points,
    live: live([]),
    ...parts,
  };
}

function ordinary(hours) {
  const points = overTime(hours, 420, random(7));
  const scale = Math.max(1, Math.round(hours / 4));
  const of = (provider, model, total, failed, cancelled, pace, outcomes) => attempts(provider, model, total, failed * scale, cancelled * scale, pace,
    outcomes.map(([outcome, count]) => [outcome, count * scale]));
  const model = (name, count, success_rate) => ({ model: name, count: count * scale, success_rate,
    prompt_tokens: count * scale * 812, completion_tokens: count * scale * 233, total_tokens: count * scale * 1045 });
  return document(hours, points, {
    channel_model_success_rates: [
      of("anthropic", "claude-sonnet-4", 210 * scale, 0, 3, 640, []),
      of("azure-west", "gpt-4o", 402 * scale, 1, 6, 290, [["server_error", 1]]),
      of("openai", "gpt-4o-mini", 911 * scale, 14, 12, 240, [["rate_limit_exceeded", 11], ["timeout", 2], ["server_error", 1]]),
      of("openai", "gpt-4o", 388 * scale, 31, 9, 310, [["rate_limit_exceeded", 24], ["timeout", 4]]),
      of("gemini-free", "gemini-2.0-flash", 120 * scale, 52, 1, 420, [["rate_limit_exceeded", 49], ["content_filter", 3]]),
      { ...of("local-llama", "llama3.1:8b", 9 * scale, 0, 9, 0, []), prompt_tokens: null, completion_tokens: null, total_tokens: null,
        first_token_ms: { p50: null, p95: null }, total_ms: { p50: null, p95: null } },
    ],
    channel_success_rates: [
      of("anthropic", undefined, 210 * scale, 0, 3, 640, []),
      of("azure-west", undefined, 402 * scale, 1, 6, 290, [["server_error", 1]]),
      of("openai", undefined, 1299 * scale, 45, 21, 260, [["rate_limit_exceeded", 35], ["timeout", 6], ["server_error", 1]]),
      of("gemini-free", undefined, 120 * scale, 52, 1, 420, [["rate_limit_exceeded", 49], ["content_filter", 3]]),
      { ...of("local-llama", undefined, 9 * scale, 0, 9, 0, []), prompt_tokens: null, completion_tokens: null, total_tokens: null,
        first_token_ms: { p50: null, p95: null }, total_ms: { p50: null, p95: null } },
    ],
    model_request_counts: [model("gpt-4o-mini", 880, 0.9981), model("gpt-4o", 760, 0.9712), model("claude-sonnet-4", 207, 1),
      model("gemini-2.0-flash", 68, 0.5667),
      { model: null, count: 4, success_rate: 0, prompt_tokens: null, completion_tokens: null, total_tokens: null }],
    endpoint_request_counts: [{ endpoint: "POST /v1/chat/completions", count: 1802 * scale }, { endpoint: "POST /v1/embeddings", count: 96 * scale },
      { endpoint: "POST /v1/messages", count: 44 * scale }, { endpoint: "GET /v1/models", count: 17 }],
    ip_request_counts: Array.from({ length: 57 }, (_, i) => ({
      ip: i === 2 ? "2001:db8:85a3::8a2e:370:7334" : `10.0.${i}.${(i * 37) % 251}`, count: Math.round((900 * scale) / (i + 1)),
    })),
    live: live([health("anthropic", 2, 4120, 0), health("azure-west", 5, 8211, 12),
      health("openai", 11, 24_402, 910, [{ model: "gpt-4o", for_ms: 12_000 }]),
      health("gemini-free", 0, 801, 377, [{ model: "gemini-2.0-flash", for_ms: 184_000 }, { model: "gemini-1.5-pro", for_ms: 41_000 }]),
      health("local-llama", 0, 0, 0)]),
  });
}

function empty(hours) {
  return { ...document(hours, overTime(hours, 0, random(1)), { live: live([health("openai", 0, 0, 0)]) }),
    requests: { total: 0, succeeded: 0, failed: 0, cancelled: 0, flagged: 0,
      prompt_tokens: null, completion_tokens: null, total_tokens: null, cached_tokens: null, reasoning_tokens: null } };
}

function many(hours) {
  const next = random(3);
  const rows = Array.from({ length: 500 }, (_, i) => attempts(`channel-${i % 40}`, `model-${i}`, 1000 - i, i % 17, i % 5,
    100 + Math.round(next() * 900), i % 17 ? [["timeout", i % 17]] : []));
  const points = Array.from({ length: 720 }, (_, i) => ({ time: iso(NOW - (720 - i) * HOUR_MS),
    requests: 200 + i, succeeded: 190 + i, failed: 7, cancelled: 3, total_tokens: null }));
  return document(hours, points, {
    channel_model_success_rates: rows,
    channel_success_rates: rows.slice(0, 40),
    endpoint_request_counts: [{ endpoint: "POST /v1/chat/completions", count: 402_840 }],
    ip_request_counts: [{ ip: "127.0.0.1", count: 402_840 }],
    model_request_counts: rows.map(({ model, total_requests }) => ({ model, count: total_requests, success_rate: 0.9,
      prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 })),
    live: { ...live(rows.slice(0, 40).map(({ provider }) => health(provider, 1, 10, 0))), queued_rows: 12, dropped_rows: 1234 },
  });
}

/** Every name that can come from a configuration or a client is taken from `names`. */
function named(hours, names) {
  const doc = document(hours, overTime(hours, 50, random(5)), {});
  doc.channel_model_success_rates = names.map((name) => attempts(name, name, 20, 5, 0, 200, [[name, 5]]));
  doc.channel_success_rates = names.map((name) => attempts(name, undefined, 20, 5, 0, 200, [[name, 5]]));
  doc.model_request_counts = names.map((model) => ({ model, count: 5, success_rate: 0.5, prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }));
  doc.endpoint_request_counts = names.map((endpoint) => ({ endpoint, count: 5 }));
  doc.ip_request_counts = names.map((ip) => ({ ip, count: 5 }));
  doc.live = { ...live(names.map((name) => health(name, 1, 2, 3, [{ model: name, for_ms: 90_000 }]))), version: names[0] };
  doc.time_range = names[0];
  return doc;
}

const LONG = ["a-provider-with-a-very-long-name-that-somebody-thought-useful-".repeat(3), "org/" + "x".repeat(190),
  "Ein Anbieter mit vielen Wörtern im Namen, der umbricht, wo er kann"];

export const FIXTURES = {
  ordinary,
  empty,
  many,
  evil: (hours) => named(hours, EVIL),
  long: (hours) => named(hours, LONG),
  old: (hours) => ({
    time_range: `Last ${hours} hours`, channel_model_success_rates: [{ provider: "openai", model: "gpt-4o", success_rate: 0.5, total_requests: 4 }],
    channel_success_rates: [{ provider: "openai", success_rate: 0.5, total_requests: 4 }], model_request_counts: [{ model: "gpt-4o", count: 4 }],
    endpoint_request_counts: [{ endpoint: "POST /v1/chat/completions", count: 4 }], ip_request_counts: [{ ip: "127.0.0.1", count: 4 }],
  }),
  other: () => ({ hello: "world" }),
  disabled: () => ({ stats: {}, database: "disabled", message: "statistics are switched off (DISABLE_DATABASE)",
    live: live([health("openai", 3, 120, 4, [{ model: "gpt-4o", for_ms: 30_000 }]), health("anthropic", 0, 0, 0)]) }),
};

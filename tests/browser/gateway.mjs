// A stand-in for the gateway: serves the page as the gateway does, and fixture documents to it.
// Each fixture has an address of its own: /<fixture>/stats.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

export const PAGE = readFileSync(fileURLToPath(new URL("../../src/http/stats.html", import.meta.url)), "utf8");
export const ADMIN_KEY = "sk-admin-0123456789";
export const USER_KEY = "sk-user-0123456789";

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const inner = (tag) => PAGE.slice(PAGE.indexOf(`<${tag}>`) + tag.length + 2, PAGE.indexOf(`</${tag}>`));

export const POLICY = `default-src 'none'; script-src ${hash(inner("script"))}; style-src ${hash(inner("style"))}; connect-src 'self'; `
  + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const refusal = (message, code) => ({ error: { message, type: "invalid_request_error", param: null, code }, message });

/** Starts it on a free port of the loopback; `fixtures` gives a document for a number of hours, by name. */
export async function startGateway(fixtures) {
  const gateway = { down: false, status: 200 };
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://gateway");
    const fixture = fixtures[url.pathname.split("/")[1]];
    const reply = (status, type, body) => {
      response.writeHead(status, { "content-type": type, "cache-control": "no-store", vary: "Accept", "content-security-policy": POLICY });
      response.end(body);
    };
    const json = (status, doc) => reply(status, "application/json", JSON.stringify(doc));
    if (!fixture || !url.pathname.endsWith("/stats")) return json(404, refusal("no such address", "not_found"));
    if (request.headers.accept.includes("text/html")) return reply(200, "text/html; charset=utf-8", PAGE);
    if (gateway.down) return request.socket.destroy();
    if (gateway.status !== 200) return json(gateway.status, refusal("the database is locked; try again later", "unavailable"));
    const key = request.headers.authorization?.slice("Bearer ".length);
    if (key === USER_KEY) return json(403, refusal("Permission denied; use a key with role: admin", "permission_denied"));
    if (key !== ADMIN_KEY) return json(401, refusal("this API key is not known here", "invalid_api_key"));
    return json(200, fixture(Number(url.searchParams.get("hours"))));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  gateway.url = (fixture) => `http://127.0.0.1:${server.address().port}/${fixture}/stats`;
  gateway.close = () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); });
  return gateway;
}

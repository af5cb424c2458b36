// The ordinary Express app with sessions: nothing in it knows that Sojourn answers instead of Redis.
//
//   REDIS_URL=redis://127.0.0.1:7401 PORT=3000 npm start

import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

const client = createClient({
  url: process.env.REDIS_URL ?? "redis://127.0.0.1:7401",
  // A write that waits in memory for a connection would come late, and undo what another process wrote meanwhile.
  disableOfflineQueue: true,
  socket: { reconnectStrategy: 50 },
});
client.on("error", (error) => console.error(`redis: ${error.message}`));
await client.connect();

const store = new RedisStore({ client, ttl: 86400 });
const app = express();
app.use(express.json());
app.use(session({ store, secret: process.env.SECRET ?? "change me", resave: false, saveUninitialized: false }));

// express-session answers even if saving failed; whoever must be able to rely on an answer saves first.
const saved = (request) =>
  new Promise((resolve, reject) => request.session.save((error) => (error ? reject(error) : resolve())));

app.get("/", async (request, response) => {
  request.session.views = (request.session.views ?? 0) + 1;
  await saved(request);
  response.json({ views: request.session.views, user: request.session.user ?? null });
});

app.post("/login", (request, response, next) => {
  const { views } = request.session;
  // A new id at login, so that nobody logs in under an id that somebody else chose.
  request.session.regenerate(async (error) => {
    if (error) return next(error);
    Object.assign(request.session, { views, user: String(request.body.user) });
    try {
      await saved(request);
      response.json({ user: request.session.user });
    } catch (failure) {
      next(failure);
    }
  });
});

app.get("/sessions", (_request, response, next) => {
  store.all((error, sessions) => {
    if (error) return next(error);
    response.json(sessions.map(({ user, views }) => ({ user: user ?? null, views: views ?? 0 })));
  });
});

app.post("/logout", (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.json({ user: null })));
});

app.use((error, _request, response, _next) => {
  console.error(`failed: ${error.message}`);
  response.status(503).json({ error: error.message });
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

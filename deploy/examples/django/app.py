"""The ordinary Django app with cached sessions: nothing in it knows that Sojourn answers instead of Redis.

    REDIS_URL=redis://127.0.0.1:7401 PORT=8000 python app.py
"""

import os
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ.get("REDIS_URL", "redis://127.0.0.1:7401"),
        }
    },
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET", "change me"),
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402 (needs the settings)
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


def visit(request):
    request.session["views"] = request.session.get("views", 0) + 1
    return JsonResponse({"views": request.session["views"], "user": request.session.get("user")})


def login(request, user):
    # A new id at login, so that nobody logs in under an id that somebody else chose.
    request.session.cycle_key()
    request.session["user"] = user
    return JsonResponse({"user": user})


def logout(request):
    request.session.flush()
    return JsonResponse({"user": None})


urlpatterns = [path("", visit), path("login/<user>", login), path("logout", logout)]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_arguments):
        pass


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    with make_server("127.0.0.1", port, get_wsgi_application(), Server, QuietHandler) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()

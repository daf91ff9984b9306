"""Settings, all from the environment; the README says what each is for.

The sections follow an event on its way. With none set, the embedded servers of DATA_DIR stand in (vibetel/embedded).
"""

import os
import ssl
from datetime import timedelta
from pathlib import Path

import dj_database_url
from botocore.config import Config
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from vibetel import embedded, environment
from vibetel.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent

# -- Place ------------------------------------------------------------------------------------------------------------

DATA_DIR = Path(os.environ.get("DATA_DIR") or BASE_DIR / "portal").resolve()  # the embedded servers' data and secrets
try:
    _embedded = embedded.environment(DATA_DIR, os.environ)
except OSError as error:
    raise ImproperlyConfigured(f"DATA_DIR: cannot use {DATA_DIR}: {error.strerror}") from error
env = Environment(os.environ, fallback=_embedded)
# The process that receives events asks neither Postgres nor the bucket, and starts without their addresses.
_not_for_ingest = "" if os.environ.get("DJANGO_SETTINGS_MODULE") == "vibetel.ingest_settings" else None
PORT = env.parsed("PORT", environment.port, "8000")  # where `manage.py up` serves the portal
INGEST_PORT = env.parsed("INGEST_PORT", environment.port, str(PORT + 1))  # and where it receives events
# Where `manage.py collectstatic` puts static files, under names that browsers may keep for ever. Without it each app's
# folder is served as it is.
STATIC_ROOT = env.text("STATIC_ROOT", "") or None

# -- Secrets ----------------------------------------------------------------------------------------------------------

# Signs sessions, and hashes addresses for the limits; one for all processes. Changed, everybody logs in again.
SECRET_KEY = env.secret("SECRET_KEY")
IDENTITY_HASH_KEY = env.secret("IDENTITY_HASH_KEY").encode()  # hashes user ids that are no UUIDs; never change it

# -- Ingest: POST, check, buffer --------------------------------------------------------------------------------------

REDIS_URL = env.server("REDIS_URL", "redis", "rediss")
EVENTS_MAX_COUNT = env.positive("EVENTS_MAX_COUNT", 500)  # events in one request; above: 413
BODY_MAX_BYTES = env.positive("BODY_MAX_BYTES", 1_048_576)  # bytes of one request, as sent and inflated; above: 413
# Where clients send to: what the dashboards tell maintainers, and what simulate sends to.
PIPELINE_URL = env.parsed(
    "PIPELINE_URL", environment.url("http", "https"), f"http://127.0.0.1:{INGEST_PORT}/api/pipeline"
)
# A minute's events at once, and each allowed again in its share of the minute; or `off`. Above: 429
INGEST_RATE_PER_ADDRESS = env.parsed("INGEST_RATE_PER_ADDRESS", environment.rate, "1200/min")  # of IPv6 the /64
INGEST_RATE_PER_INSTALLATION = env.parsed("INGEST_RATE_PER_INSTALLATION", environment.rate, "1200/min")  # by userId
TRUSTED_PROXIES = env.parsed("TRUSTED_PROXIES", environment.networks, "")  # whose X-Forwarded-For is believed
NEW_NAMES_PER_DAY = env.positive("NEW_NAMES_PER_DAY", 200)  # unseen commands, models, …, of each kind; above: `other`
BUFFER_MAX_ROWS = env.positive("BUFFER_MAX_ROWS", 1_000_000)  # events waiting for the archive; above: 503
BUFFER_MAX_BYTES = env.positive(
    "BUFFER_MAX_BYTES", 512 * 1_048_576
)  # their lines' bytes, at most half of Redis's memory

METRICS_TOKEN = env.secret("METRICS_TOKEN", "")  # who sends it as bearer token may read /metrics; else this machine

# -- Batch and archive ------------------------------------------------------------------------------------------------

BATCH_MAX_ROWS = env.positive("BATCH_MAX_ROWS", 100)
BATCH_MAX_BYTES = env.positive("BATCH_MAX_BYTES", 10_485_760)  # of uncompressed lines
BATCH_MAX_SECONDS = env.positive("BATCH_MAX_SECONDS", 5)  # from a batch's first row until it is due
ARCHIVE_BUCKET = env.text("ARCHIVE_BUCKET", _not_for_ingest)


def _archive(role: str) -> dict[str, object]:
    """A django-storages backend on the bucket, with the keys of one role (WRITE or READ).

    A process that has no business with the bucket, such as the web process, runs without keys: it fails when it
    uses them, not when it starts.
    """
    endpoint_url = env.parsed("ARCHIVE_ENDPOINT_URL", environment.url("http", "https"), "")
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": ARCHIVE_BUCKET,
            "endpoint_url": endpoint_url or None,
            "region_name": env.text("ARCHIVE_REGION", "auto"),
            "access_key": env.text(f"ARCHIVE_{role}_ACCESS_KEY_ID", "") or None,
            "secret_key": env.secret(f"ARCHIVE_{role}_SECRET_ACCESS_KEY", "") or None,
            "client_config": Config(
                s3={"addressing_style": "path"},
                signature_version="s3v4",
                # R2 knows no CRC trailers: checksums only where S3 demands them.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=5,
                read_timeout=30,
                retries={"mode": "standard", "max_attempts": 3},
                max_pool_connections=16,
                # A proxy of the environment cannot reach the embedded server.
                proxies={} if endpoint_url.startswith("http://127.0.0.1:") else None,
            ),
        },
    }


STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
    "archive": _archive("WRITE"),
    "archive_read": _archive("READ"),
}

# -- Load -------------------------------------------------------------------------------------------------------------

DATABASE_URL = env.server("DATABASE_URL", "postgresql", "postgres", default=_not_for_ingest)
# A connection a request: granian ends idle threads without a word to Python, and each would leave its own behind.
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=0)} if DATABASE_URL else {}
for _database in DATABASES.values():
    _database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
LOAD_INTERVAL_SECONDS = env.positive("LOAD_INTERVAL_SECONDS", 2)
RETENTION_MONTHS = env.positive("RETENTION_MONTHS", 13)  # how long Postgres keeps events; figures stay, and the archive

CELERY_BROKER_URL = REDIS_URL
if REDIS_URL.startswith("rediss:"):  # what else its URL says of TLS, Celery reads there
    CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "{vibetel}:celery:"}
CELERY_TASK_IGNORE_RESULT = True

# -- Portal -----------------------------------------------------------------------------------------------------------

DEBUG = False
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.names("CSRF_TRUSTED_ORIGINS", "")
ADMIN_PATH = env.parsed("ADMIN_PATH", environment.url_path, "admin")  # where the dashboards are
ROOT_URLCONF = "vibetel.urls"
WSGI_APPLICATION = "vibetel.wsgi.application"
INSTALLED_APPS = [
    "vibetel",
    "ingest",
    "analytics.apps.AnalyticsConfig",
    "analytics.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "rest_framework",
    "rest_framework.authtoken",
]
MIDDLEWARE = [
    "csp.middleware.CSPMiddleware",  # this and the next two are outermost: static files and error pages, too
    "django.middleware.security.SecurityMiddleware",
    "vibetel.middleware.permissions_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "vibetel.middleware.viewer_zone",
    "axes.middleware.AxesMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
# Requests of the stats API, of one account, as each web process counts them; or `off`. Above: 429
STATS_RATE_PER_ACCOUNT = env.parsed("STATS_RATE_PER_ACCOUNT", environment.rate, "600/min")
SPECTACULAR_SETTINGS = {"OAS_VERSION": "3.1.0", "TITLE": "vibetel: figures", "VERSION": "1"}  # its document
TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en"
USE_I18N = False
NUMBER_GROUPING = 3  # 10,000, where a template asks for it

# -- People -----------------------------------------------------------------------------------------------------------

LOGIN_URL = "admin:login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# After so many failures of an account from an address it is locked for so long (vibetel/logins.py).
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # who goes on trying waits no longer, and nothing is written
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "vibetel.logins.locked"
AXES_CLIENT_IP_CALLABLE = "vibetel.logins.address"
AXES_HANDLER = "vibetel.logins.QuietHandler"
AXES_DISABLE_ACCESS_LOG = True  # nobody keeps who logged in from where
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# -- Browsers ---------------------------------------------------------------------------------------------------------

# Pages show strings that anyone may have posted: what gets past the escaping must not run, load or send anything.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
CSRF_FAILURE_VIEW = "vibetel.errors.csrf_failure"
SESSION_COOKIE_AGE = 7 * 86_400
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"  # not Strict: a link to a page in a chat should open it
SECURE_REFERRER_POLICY = "same-origin"  # a page's query string names commands and versions
# The portal is on https where an origin of CSRF_TRUSTED_ORIGINS is; the proxy in front, which has the certificate, says
# so in X-Forwarded-Proto, and sends http there. `make run` is on http, on loopback.
_https = any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SECURE_HSTS_SECONDS = env.seconds("HSTS_SECONDS", 31_536_000) if _https else 0
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: whose they are, the portal does not know
    "security.W008",  # redirects to https: the proxy's, which this process could send round in circles
    "security.W021",  # HSTS in the lists of browsers: of the domain's owner
]

# -- Logs: ids, counts and milliseconds; never payloads, addresses or keys --------------------------------------------

LOG_FORMAT = env.parsed("LOG_FORMAT", environment.log_format, "plain")  # or json: one object a line
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "vibetel.logs.Plain", "secrets": env.secrets},
        "json": {"()": "vibetel.logs.JSON", "secrets": env.secrets},
    },
    "filters": {
        # While Redis is away or the buffer full, each event is answered so: round_trip.py and buffer.py say it once.
        "no_503": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 0) != 503,
        }
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT},
        "null": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": env.parsed("LOG_LEVEL", environment.log_level, "INFO")},
    "loggers": {
        "django": {"level": "WARNING"},
        # These quote what a stranger put into a path or a Host header.
        "django.request": {"level": "ERROR", "filters": ["no_503"]},
        "django.security.DisallowedHost": {"handlers": ["null"], "propagate": False},
        "celery": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        # With LOG_LEVEL=DEBUG these would log what they send, keys included.
        **{name: {"level": "INFO"} for name in ("boto3", "botocore", "s3transfer", "urllib3", "kombu", "asyncio")},
    },
}

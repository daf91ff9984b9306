"""Settings of `plain`: no middleware, no database, no apps."""

import os

SECRET_KEY = "measures only"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.bench.yardsticks.plain"
USE_TZ = True
REDIS_URL = os.environ["REDIS_URL"]

// The cookie by which the portal knows the viewer's time zone (vibetel/middleware.py).
"use strict";

document.cookie =
  `zone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/; max-age=31536000; samesite=lax` +
  (location.protocol === "https:" ? "; secure" : "");

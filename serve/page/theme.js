// Sets the chosen theme before anything is painted; without a choice the system's applies.
"use strict";
try {
  const theme = localStorage.getItem("smolserve-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* storage is forbidden */ }

/** Light or dark: as the system says, unless the person said otherwise on this device. */
export type Theme = "system" | "light" | "dark";

const KEY = "reelfleet-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export function theme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system";
  }
}

function apply(): void {
  const chosen = theme();
  document.documentElement.dataset.theme = chosen === "system" ? (dark.matches ? "dark" : "light") : chosen;
}

export function setTheme(chosen: Theme): void {
  try {
    if (chosen === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // A browser that keeps nothing: it lasts for this page.
    document.documentElement.dataset.theme = chosen;
    return;
  }
  apply();
}

export function followTheme(): void {
  apply();
  dark.addEventListener("change", apply);
}

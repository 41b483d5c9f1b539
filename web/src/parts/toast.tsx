/** Words at the lower edge, with a way back where there is one. */
import { useSyncExternalStore } from "react";
import { Icon } from "./icon";

interface Toast {
  id: number;
  text: string;
  action: { label: string; run: () => void } | null;
}

const LIVES_MS = 8_000;
let shown: readonly Toast[] = [];
let next = 0;
const listeners = new Set<() => void>();

function become(toasts: readonly Toast[]): void {
  shown = toasts;
  for (const listener of listeners) listener();
}

export function toast(text: string, action: Toast["action"] = null): void {
  const id = next++;
  become([...shown.slice(-2), { id, text, action }]);
  setTimeout(() => dismiss(id), LIVES_MS);
}

function dismiss(id: number): void {
  become(shown.filter((one) => one.id !== id));
}

export function Toasts() {
  const toasts = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => shown,
  );
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map(({ id, text, action }) => (
        <div className="toast" key={id}>
          <span>{text}</span>
          <span className="row">
            {action && (
              <button
                type="button"
                className="button small"
                onClick={() => {
                  dismiss(id);
                  action.run();
                }}
              >
                {action.label}
              </button>
            )}
            <button type="button" className="button small icon-only" aria-label="Dismiss" onClick={() => dismiss(id)}>
              <Icon name="close" />
            </button>
          </span>
        </div>
      ))}
    </div>
  );
}

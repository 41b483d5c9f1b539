/** What a key does to the player: the keys that people know from elsewhere. */
export type Deed =
  | { do: "toggle" | "mute" | "full" | "captions" | "help" | "pip" }
  | { do: "move"; by: number }
  | { do: "jump"; to: number }
  | { do: "speed" | "volume" | "frame"; by: number };

export const HELP: [string, string][] = [
  ["Space or k", "Play, pause"],
  ["j / l", "10 seconds back, on"],
  ["← / →", "5 seconds back, on"],
  ["↑ / ↓", "Louder, quieter"],
  ["0 – 9", "To that tenth"],
  ["< / >", "Slower, faster"],
  [", / .", "One picture back, on (while paused)"],
  ["m", "Sound off, on"],
  ["c", "Captions off, on"],
  ["f", "Full screen"],
  ["i", "Picture in picture"],
  ["?", "This list"],
];

export function deedOf(key: string): Deed | null {
  if (/^[0-9]$/.test(key)) return { do: "jump", to: Number(key) / 10 };
  switch (key) {
    case " ":
    case "k":
      return { do: "toggle" };
    case "j":
      return { do: "move", by: -10 };
    case "l":
      return { do: "move", by: 10 };
    case "ArrowLeft":
      return { do: "move", by: -5 };
    case "ArrowRight":
      return { do: "move", by: 5 };
    case "ArrowUp":
      return { do: "volume", by: 0.1 };
    case "ArrowDown":
      return { do: "volume", by: -0.1 };
    case "<":
      return { do: "speed", by: -0.25 };
    case ">":
      return { do: "speed", by: 0.25 };
    case ",":
      return { do: "frame", by: -1 };
    case ".":
      return { do: "frame", by: 1 };
    case "m":
      return { do: "mute" };
    case "f":
      return { do: "full" };
    case "c":
      return { do: "captions" };
    case "i":
      return { do: "pip" };
    case "?":
      return { do: "help" };
    default:
      return null;
  }
}

/** The storyboard's cues: WebVTT whose payload is `sprite#xywh=x,y,w,h` (Media Fragments URI 1.0). */

export interface Shot {
  from: number;
  to: number;
  url: string;
  x: number;
  y: number;
  w: number;
  h: number;
}

function seconds(text: string): number {
  return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

export function shots(vtt: string, base: string): Shot[] {
  const list: Shot[] = [];
  const lines = vtt.split(/\r?\n/);
  lines.forEach((line, index) => {
    const times = /^([\d:.]+) --> ([\d:.]+)/.exec(line);
    const frame = /^(.+)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec(lines[index + 1] ?? "");
    if (!times || !frame) return;
    const [x, y, w, h] = frame.slice(2).map(Number) as [number, number, number, number];
    if (w > 0 && h > 0) {
      const url = new URL(frame[1] ?? "", base).href;
      list.push({ from: seconds(times[1] ?? ""), to: seconds(times[2] ?? ""), url, x, y, w, h });
    }
  });
  return list;
}

/** The shot at a time; the nearest before it. */
export function shotAt(list: Shot[], time: number): Shot | null {
  let found: Shot | null = list[0] ?? null;
  for (const shot of list) {
    if (shot.from > time) break;
    found = shot;
  }
  return found;
}

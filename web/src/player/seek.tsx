/** The bar of the whole film: what was played, what is loaded, what is not made yet; with a picture under the pointer. */
import { useState, type PointerEvent } from "react";
import { clock } from "../parts/format";
import { shotAt, type Shot } from "../parts/storyboard";

const PEEK_WIDTH = 160;

export function Seek({
  time, until, loaded, duration, shots, to,
}: { time: number; until: number; loaded: number; duration: number; shots: Shot[]; to: (time: number) => void }) {
  const [peek, setPeek] = useState<{ share: number; left: number } | null>(null);
  const part = (seconds: number): string => `${duration ? Math.min(100, (seconds / duration) * 100) : 0}%`;
  const unmade = Math.max(0, duration - until);
  const look = (event: PointerEvent<HTMLDivElement>): void => {
    const box = event.currentTarget.getBoundingClientRect();
    const x = Math.min(box.width, Math.max(0, event.clientX - box.left));
    const half = PEEK_WIDTH / 2;
    setPeek({ share: x / box.width, left: Math.min(box.width - half, Math.max(half, x)) });
  };
  const at = peek ? peek.share * duration : 0;
  const shot = peek ? shotAt(shots, at) : null;
  const scale = shot ? PEEK_WIDTH / shot.w : 1;
  return (
    <div className="seek" onPointerMove={look} onPointerLeave={() => setPeek(null)}>
      <div className="track">
        <i className="loaded" style={{ width: part(loaded) }} />
        <i className="played" style={{ width: part(time) }} />
        {unmade > 0.5 && until > 0 && <i className="unmade" style={{ width: part(unmade) }} />}
      </div>
      <input
        type="range"
        aria-label="Position"
        aria-valuetext={`${clock(time)} of ${clock(duration)}`}
        min={0}
        max={duration || 1}
        step={0.1}
        value={Math.min(time, duration)}
        onChange={({ target }) => to(Number(target.value))}
      />
      {peek && (
        <div className="peek" style={{ left: peek.left }}>
          {shot && (
            <i
              style={{
                width: PEEK_WIDTH,
                height: shot.h * scale,
                backgroundImage: `url("${shot.url}")`,
                backgroundPosition: `-${shot.x * scale}px -${shot.y * scale}px`,
                backgroundSize: `${spriteWidth(shots, shot) * scale}px auto`,
              }}
            />
          )}
          {at > until + 0.5 ? `${clock(at)} · not made yet` : clock(at)}
        </div>
      )}
    </div>
  );
}

/** How wide the sprite is that holds this shot: its right-most frame ends there. */
function spriteWidth(shots: Shot[], shot: Shot): number {
  return shots.reduce((width, one) => (one.url === shot.url ? Math.max(width, one.x + one.w) : width), shot.w);
}

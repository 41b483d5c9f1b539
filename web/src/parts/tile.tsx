/** One asset of a grid: poster, a storyboard that follows the pointer, length, state. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { Link } from "wouter";
import type { ListedAsset, OpenAsset } from "../api/types";
import { clock } from "./format";
import { Icon } from "./icon";
import { shotAt, shots, type Shot } from "./storyboard";

export function useShots(url: string | null | undefined, wanted: boolean): Shot[] {
  const { data } = useQuery({
    queryKey: ["shots", url],
    enabled: wanted && !!url,
    staleTime: Infinity,
    queryFn: async ({ signal }) => {
      const response = await fetch(url ?? "", { signal });
      if (!response.ok) throw new Error(`the storyboard answered ${response.status}`);
      return shots(await response.text(), response.url);
    },
  });
  return data ?? [];
}

/** One frame of a sprite, scaled to a width. */
export function Frame({ shot, width }: { shot: Shot; width: number }) {
  const scale = width / shot.w;
  return (
    <i
      style={{
        width: shot.w,
        height: shot.h,
        backgroundImage: `url("${shot.url}")`,
        backgroundPosition: `-${shot.x}px -${shot.y}px`,
        transform: `translate(-50%, -50%) scale(${scale})`,
      }}
    />
  );
}

export function Tile({
  asset, children, href, picked = false,
}: { asset: ListedAsset | OpenAsset; children: ReactNode; href: string; picked?: boolean }) {
  const frame = useRef<HTMLAnchorElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const [width, setWidth] = useState(240);
  const list = useShots(asset.storyboard, at !== null);
  const seconds = (asset.duration_ms ?? 0) / 1000;
  const shot = at === null ? null : shotAt(list, at * seconds);
  useEffect(() => {
    if (at !== null && frame.current) setWidth(frame.current.clientWidth);
  }, [at]);
  return (
    <>
      <Link
        ref={frame}
        className="frame"
        href={href}
        tabIndex={-1}
        aria-hidden="true"
        onPointerMove={(event: React.PointerEvent<HTMLAnchorElement>) => {
          if (event.pointerType !== "mouse" || !asset.storyboard) return;
          const box = event.currentTarget.getBoundingClientRect();
          setAt(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
        }}
        onPointerLeave={() => setAt(null)}
      >
        {asset.thumbnail ? (
          <img src={asset.thumbnail} alt="" loading="lazy" decoding="async" />
        ) : (
          <span className="blank">
            <Icon name={asset.media === "audio" ? "sound" : asset.media === "image" ? "image" : "film"} />
          </span>
        )}
        {shot && at !== null && (
          <span className="scrub">
            <Frame shot={shot} width={width} />
            <b style={{ width: `${at * 100}%` }} />
          </span>
        )}
        {asset.duration_ms !== null && asset.media !== "image" && <span className="length">{clock(seconds)}</span>}
      </Link>
      <Link className="name clip" href={href} title={asset.name} aria-current={picked ? "true" : undefined}>
        {asset.name}
      </Link>
      {children}
    </>
  );
}

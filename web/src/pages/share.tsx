/** Who may watch an asset, and how others come to it: by a link, or on a page of theirs. */
import { useState } from "react";
import { assets } from "../api/calls";
import type { AssetDetail, Visibility } from "../api/types";
import { Copy, Failure, Field } from "../parts/ui";

const SEEN_BY: [Visibility, string, string][] = [
  ["private", "Private", "Only you, and administrators."],
  ["unlisted", "Unlisted", "Whoever has the link. It is not listed."],
  ["public", "Public", "Everybody. It is listed under Explore."],
];

export function Share({ asset, renew }: { asset: AssetDetail; renew: () => Promise<unknown> }) {
  const [error, setError] = useState<unknown>(null);
  const change = async (visibility: Visibility): Promise<void> => {
    setError(null);
    try {
      await assets.edit(asset, { visibility });
    } catch (problem) {
      setError(problem);
    }
    await renew();
  };
  return (
    <>
      {error !== null && <Failure error={error} />}
      <Field label="Who may watch" hint={SEEN_BY.find(([value]) => value === asset.visibility)?.[2]}>
        <select className="input" value={asset.visibility} onChange={({ target }) => void change(target.value as Visibility)}>
          {SEEN_BY.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
      </Field>
      {asset.visibility !== "private" && (
        <>
          <Given name="Link" text={`${location.origin}/watch/${asset.id}`} label="the link" />
          {asset.media !== "image" && <Given name="Embed code" text={embedCode(asset)} label="the embed code" />}
        </>
      )}
    </>
  );
}

function Given({ name, text, label }: { name: string; text: string; label: string }) {
  return (
    <div className="row">
      <input className="input grow" aria-label={name} readOnly value={text} onFocus={({ target }) => target.select()} />
      <Copy text={text} label={label} />
    </div>
  );
}

/** HTML for a page of somebody else's, in the picture's shape. */
export function embedCode(asset: Pick<AssetDetail, "id" | "name" | "width" | "height" | "media">): string {
  const quoted = asset.name.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const width = 640;
  const shape = asset.media === "audio" || !asset.width || !asset.height ? 9 / 16 : asset.height / asset.width;
  const height = asset.media === "audio" ? 200 : Math.round(width * shape);
  return `<iframe src="${location.origin}/embed/${asset.id}" title="${quoted}" width="${width}" height="${height}" style="border:0;max-width:100%" allow="fullscreen; picture-in-picture" loading="lazy"></iframe>`;
}

/** What the API answers (docs/api.md), as far as the app looks at it. */
import type { Estimate } from "../upload/estimate";

export type Role = "user" | "reviewer" | "operator" | "admin";

export interface User {
  id: string;
  tenant: string;
  email: string;
  name: string;
  roles: Role[];
  state: string;
}

export interface SessionAnswer {
  user: User;
  access_token: string;
  expires_at: string;
}

export type AssetState =
  | "uploaded"
  | "awaiting_approval"
  | "parked"
  | "processing"
  | "playable"
  | "ready"
  | "refused"
  | "failed"
  | "deleting"
  | "deleted";

export type Visibility = "private" | "unlisted" | "public";

export interface Deletion {
  requested_at: string | null;
  restorable_until: string | null;
}

export interface Asset {
  id: string;
  name: string;
  description: string;
  visibility: Visibility;
  tags: string[];
  /** Of what people say of it; work on it does not change this. */
  edition: number;
  state: AssetState;
  reason: { code: string; detail: string | null } | null;
  media: "video" | "audio" | "image" | null;
  owner: string;
  upload: string | null;
  duration_ms: number | null;
  width: number | null;
  height: number | null;
  generation: number;
  version: number;
  source: { bucket: string; key: string; version_id: string | null; etag: string; size: number };
  landed_at: string;
  playable_at: string | null;
  ready_at: string | null;
  updated_at: string;
  timings: { playable_ms: number | null; ready_ms: number | null };
}

export interface Picture {
  name: string;
  kind: "poster" | "storyboard" | "cues" | "size";
  format: string;
  width: number;
  height: number;
  bytes: number;
  url: string;
}

export interface Rendition {
  name: string;
  codecs: string | null;
  width: number | null;
  height: number | null;
  bandwidth: number | null;
  frames: number | null;
  bytes: number | null;
}

export interface Captions {
  language: string;
  label: string;
  url: string | null;
}

/** What happened to a review. Who voted is told to whoever may review. */
export interface ReviewStep {
  what: "approved" | "rejected" | "reminded" | "escalated" | "expired" | "asked_again";
  at: string;
  by: string | null;
  reason: string | null;
}

/** How an asset's review stands, and went; after its verdict too. */
export interface OwnReview {
  state: "waiting" | "granted" | "declined" | "expired";
  needed: number;
  given: number;
  requested_at: string;
  expires_at: string;
  decided_at: string | null;
  steps: ReviewStep[];
}

/** An event of one's own stream. */
export interface Happened {
  position: number;
  id: string;
  type: string;
  asset: string;
  /** What the asset is called now. */
  name: string | null;
  at: string;
  data: Record<string, unknown>;
}

export interface AssetDetail extends Asset {
  probe: Record<string, unknown> | null;
  progress: number | null;
  job: { id: string; state: string } | null;
  renditions: Rendition[];
  pictures: Picture[];
  captions?: Captions[];
  playback: { url: string; expires_at: string } | null;
  deletion: Deletion | null;
  review: OwnReview | null;
}

export interface ListedAsset extends Asset {
  thumbnail: string | null;
  /** The storyboard's cues. */
  storyboard: string | null;
}

/** What strangers see of what is public or unlisted. */
export type OpenAsset = Pick<
  ListedAsset,
  | "id" | "name" | "description" | "tags" | "visibility" | "state" | "media" | "duration_ms" | "width" | "height"
  | "playable_at" | "thumbnail" | "storyboard"
> & Pick<AssetDetail, "pictures" | "playback" | "captions">;

export interface OpenPage {
  assets: OpenAsset[];
  next_cursor: string | null;
}

export interface AssetPage {
  assets: ListedAsset[];
  next_cursor: string | null;
}

export interface Upload {
  id: string;
  asset: string;
  state: "open" | "completed" | "landed" | "aborted";
  mode: "single" | "multipart";
  name: string;
  size: number;
  type: string;
  checksum: string | null;
  fingerprint: string | null;
  part_size: number;
  parts_total: number;
  created_at: string;
  expires_at: string;
  done?: number[];
  parts?: { n: number; size: number; sha256: string | null }[];
  /** In the answer that reserves it. */
  estimate?: Estimate;
}

export interface SignedPart {
  n: number;
  len: number;
  method: string;
  url: string;
  headers: Record<string, string>;
  expires_at: string;
}

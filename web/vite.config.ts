/// <reference types="vitest/config" />
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** The gateway sends these as they are: nobody compresses the same file twice. */
function gzipped(): Plugin {
  return {
    name: "gzipped",
    apply: "build",
    async writeBundle({ dir }) {
      const assets = join(dir ?? "dist", "assets");
      for (const name of await readdir(assets)) {
        if (!/\.(js|css)$/.test(name)) continue;
        const path = join(assets, name);
        await writeFile(`${path}.gz`, gzipSync(await readFile(path), { level: 9 }));
      }
    },
  };
}

// `npm run dev` serves the app with hot reload in front of a fleet started by `make up`.
const fleet = process.env.REELFLEET_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react(), gzipped()],
  // Nothing inline: the page's policy refuses data: URLs and inline scripts.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2023", reportCompressedSize: true },
  server: { proxy: { "/v1": { target: fleet, ws: true }, "/p/": fleet } },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});

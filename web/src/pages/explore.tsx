/** What was made public, for everybody. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { explore, keys } from "../api/calls";
import { Icon } from "../parts/icon";
import { Tile } from "../parts/tile";
import { Empty, Failure, Time, useRested, useTitle } from "../parts/ui";
import { More, Skeletons } from "./library";

export function Explore() {
  useTitle("Explore");
  const [typed, setTyped] = useState("");
  const q = useRested(typed.trim(), 250);
  const found = useInfiniteQuery({
    queryKey: keys.explore(q),
    queryFn: ({ pageParam, signal }) => explore.list(q, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });
  const list = found.data?.pages.flatMap((page) => page.assets) ?? [];
  return (
    <>
      <div className="head">
        <h1>Explore</h1>
      </div>
      <div className="tools">
        <div className="search">
          <Icon name="search" />
          <input
            className="input"
            type="search"
            aria-label="Search what is public"
            placeholder="Search"
            value={typed}
            onChange={({ target }) => setTyped(target.value)}
          />
        </div>
      </div>
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.isPending ? <Skeletons /> : null}
      {found.data && list.length === 0 ? (
        <Empty icon="compass" title={q ? "Nothing fits" : "Nothing is public yet"}>
          <p>{q ? "Try fewer words." : "An owner can make an asset public on its page."}</p>
        </Empty>
      ) : null}
      <ul className="grid" aria-label="Public assets">
        {list.map((asset) => (
          <li className="tile" key={asset.id}>
            <Tile asset={asset} href={`/watch/${asset.id}`}>
              <p className="about">{asset.playable_at && <Time iso={asset.playable_at} />}</p>
            </Tile>
          </li>
        ))}
      </ul>
      {found.hasNextPage && <More next={() => void found.fetchNextPage()} busy={found.isFetchingNextPage} />}
    </>
  );
}

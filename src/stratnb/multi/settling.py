"""A switch that an earlier run did not finish: what its newest row says is what happened."""

from __future__ import annotations

from dataclasses import replace

from stratnb.multi.desk import Desk

__all__ = ["settle_switch"]


async def settle_switch(desk: Desk) -> None:
    """Finish the newest switch of a restored desk: before its commit the old one stays active, after it it retires.

    States and lots were written with the commit; here the row gets its end, and the old one its snapshot.
    """
    rows = desk.store.switches()
    if not rows:
        return
    row = rows[-1]
    told = {"from_id": row.from_id, "to_id": row.to_id, "policy": row.policy, "restart": True}
    if row.success is None:
        error = "restart: the engine ended before the commit; the old strategy stays active"
        desk.store.save_switch(replace(row, success=False, finished_ms=desk.now_ms(), error=error))
        payload = {**told, "phase": row.phase, "error": error.split(": ")}
        desk.bus.publish("STRATEGY_SWITCH_FAILED", strategy_id=row.to_id, source="switch", payload=payload)
    elif row.success and row.phase == "commit":
        if row.from_id is not None and desk.registry.has(row.from_id):
            await desk.settle_cache(row.from_id)
        desk.store.save_switch(replace(row, phase="retire"))
        payload = {**told, "phase": "retire"}
        desk.bus.publish("STRATEGY_SWITCHED", strategy_id=row.to_id, source="switch", payload=payload)

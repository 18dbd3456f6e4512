"""A console that copies a model, in a process of its own, to be killed.

python copying_console.py SOURCE_CONFIG SPARK_CONFIG FOLDER WORKSPACE TRANSACTION
"""

from __future__ import annotations

import asyncio
import sys

from dm_isaac_g1.core.profile import Host, Paths
from dm_isaac_g1.deploy.manifest import manifest_of
from dm_isaac_g1.deploy.store import Store
from dm_isaac_g1.deploy.transfer import copy
from dm_isaac_g1.remote.host import open_host


async def main(source_config: str, spark_config: str, folder: str, workspace: str, txn: str) -> None:
    profile = Host(ssh="box", paths=Paths(workspace=workspace))
    async with (
        open_host("source", profile, ssh_config=source_config) as source,
        open_host("spark", profile, ssh_config=spark_config) as spark,
    ):
        await source.ready(30)
        await spark.ready(30)
        print("connected", flush=True)
        store = Store(spark)
        await store.acquire_lock("killed", 0.1, txn)
        manifest = await manifest_of(source, folder, chunk=1 << 20)
        await copy(source, folder, store, manifest, txn)


asyncio.run(main(*sys.argv[1:]))

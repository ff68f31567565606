"""Show the date every second for five seconds, in a coroutine."""

import asyncio
import datetime


async def display_date(seconds):
    loop = asyncio.get_running_loop()
    end_time = loop.time() + seconds
    while True:
        print(datetime.datetime.now())
        if loop.time() + 1.0 >= end_time:
            break
        await asyncio.sleep(1)


asyncio.run(display_date(5.0))

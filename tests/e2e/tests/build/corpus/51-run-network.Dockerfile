FROM base:1

RUN --network=none ls /sys/class/net > /out 2>/dev/null || echo lo > /out

FROM base:1

RUN --mount=target=/ctx cat /ctx/plain > /out && ! touch /ctx/new
RUN --mount=type=bind,source=tree,target=/t,rw echo new > /t/new && ls /t > /listed
RUN --mount=from=base:1,source=/etc,target=/other cp /other/passwd /copied

FROM base:1
COPY --from=extra plain /from-extra
RUN --mount=from=extra,target=/m cat /m/plain > /out
# options: --build-context extra=tree/extra

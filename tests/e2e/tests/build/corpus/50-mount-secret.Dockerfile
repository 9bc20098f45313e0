FROM base:1

RUN --mount=type=secret,id=one cat /run/secrets/one > /out && stat -c %a /run/secrets/one >> /out
RUN --mount=type=secret,id=one,target=/key,mode=0444,uid=33 cat /key >> /out && stat -c '%a %u' /key >> /out
RUN --mount=type=secret,id=one,env=TOKEN echo "[$TOKEN]" >> /out
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
RUN test ! -e /key
# options: --secret id=one,src=secret

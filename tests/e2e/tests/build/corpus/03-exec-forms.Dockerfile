FROM base:1

RUN ["sh", "-c", "echo \"exec form\" > /out"]
RUN [ -f /out ] && echo test > /second
CMD ["sh", "-c", "echo $HOME"]
ENTRYPOINT [ "/bin/sh", "-c" ]
VOLUME ["/data one", "/data/two"]
COPY ["name with space", "/spaces/"]

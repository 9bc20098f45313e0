FROM base:1 AS inherited
CMD ["inherited"]
FROM inherited AS reset
ENTRYPOINT ["/entry"]
FROM base:1
CMD ["first"]
ENTRYPOINT ["/entry"]
CMD shell form $HOME

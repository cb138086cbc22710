-- updated: the version of each change. diff: the row before, and with it its month. resolved: how far the feed has come.
CREATE CHANGEFEED FOR TABLE inventory.public.items
    INTO 'kafka://kafka:9092?topic_prefix=inventory_'
    WITH updated, diff, resolved = '10s', envelope = 'wrapped', format = 'json';

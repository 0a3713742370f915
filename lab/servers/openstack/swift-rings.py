"""swift-rings.py DIRECTORY ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT: rings of one replica on the device d1."""
import sys

from swift.common.ring import RingBuilder

directory, *ports = sys.argv[1:]
for kind, port in zip(('account', 'container', 'object'), ports):
    builder = RingBuilder(4, 1, 1)
    builder.add_dev({
        'region': 1, 'zone': 1, 'weight': 1, 'device': 'd1',
        'ip': '127.0.0.1', 'port': int(port), 'replication_ip': '127.0.0.1', 'replication_port': int(port),
    })
    builder.rebalance()
    builder.get_ring().save('%s/%s.ring.gz' % (directory, kind))

"""tests/cuemu/roles.py - what test_roles.sh has to compare: weights of two bundles, scores of two answers.

    roles.py weights CPU GPU     learnt by as many steps from the same: within 4e-3 of the largest change,
                                 but for one of a thousand: a gradient that is 0 but for rounding, as that
                                 of head.b in a list's loss, of which AdamW makes a whole step
    roles.py scores CPU GPU      of the same items by the model, within 1e-4 * (1 + |score|)
"""
import array
import json
import struct
import sys


def tensors(path):
    with open(path, 'rb') as file:
        text = file.read()
    head = struct.unpack('<Q', text[:8])[0]
    of = {}
    for name, row in json.loads(text[8:8 + head]).items():
        if name != '__metadata__':
            begin, end = (8 + head + at for at in row['data_offsets'])
            of[name] = array.array('f', text[begin:end])
    return of


def weights(cpu, gpu):
    cpu, gpu = tensors(cpu), tensors(gpu)
    # A bias begins at 0, so it is its change; with AdamW all others change as much.
    change = max(map(abs, cpu['layers.0.b1']))
    if cpu.keys() != gpu.keys() or not change > 1e-6:
        sys.exit(f'{len(cpu)} and {len(gpu)} tensors, a change of {change:g}')
    differences = [abs(a - b) for name in cpu for a, b in zip(cpu[name], gpu[name], strict=True)]
    others = sum(not difference <= 4e-3 * change for difference in differences)
    print(f'{others} of {len(differences)} differ; by {max(differences):g} at most; largest change {change:g}')
    if others > len(differences) // 1000 or not max(differences) <= 2 * change:
        sys.exit(1)


def scores(cpu, gpu):
    cpu, gpu = (json.load(open(path)) for path in (cpu, gpu))
    of = [{row['item']: row['score'] for row in answer['items']} for answer in (cpu, gpu)]
    for member in ('arm', 'degraded', 'model_version'):
        if cpu[member] != gpu[member]:
            sys.exit(f'{member}: {cpu[member]} and {gpu[member]}')
    if cpu['arm'] != 'model' or of[0].keys() != of[1].keys() or not of[0]:
        sys.exit(f'arm {cpu["arm"]}, {len(of[0])} and {len(of[1])} items')
    worst = max(abs(of[0][item] - of[1][item]) / (1 + abs(of[0][item])) for item in of[0])
    print(f'{len(of[0])} items, largest difference {worst:g}')
    if not worst <= 1e-4:
        sys.exit(1)


{'weights': weights, 'scores': scores}[sys.argv[1]](*sys.argv[2:])

"""tests/cuemu/roles.py - what test_roles.sh has to compare: weights of two bundles, scores of two answers.

    roles.py weights CPU GPU     learnt by as many steps from the same: within 4e-3 of the largest change,
                                 but for a few of each tensor, none of a small one: where a gradient is 0 but
                                 for rounding, AdamW makes a whole step of it. head.b in a list's loss
                                 is such a one, and alone in its tensor
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
    wrong = []
    for name in cpu:
        differences = [abs(a - b) for a, b in zip(cpu[name], gpu[name], strict=True)]
        others = [difference for difference in differences if not difference <= 4e-3 * change]
        few = 1 if name == 'head.b' else min(8, len(differences) // 50)
        if len(others) > few or any(not other <= 2 * change for other in others):
            wrong.append(f'{len(others)} of {len(differences)} of {name}, by {max(others):g} at most')
    if wrong:
        sys.exit(f'the largest change is {change:g}, and others are: ' + '; '.join(wrong))


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

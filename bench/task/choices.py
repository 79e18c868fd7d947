"""What ``model`` and ``data`` may be."""

from __future__ import annotations

from bench.task.data.cifar import CIFAR
from bench.task.data.digits import Digits
from bench.task.data.imagefolder import ImageFolder
from bench.task.data.synthetic import Synthetic
from bench.task.model.mlp import MLP
from bench.task.model.resnet import ResNet
from bench.task.model.torchvision import Torchvision
from bench.task.model.vgg import VGG
from bench.task.model.vit import ViT
from bench.task.model.wide_resnet import WideResNet

Model = ResNet | WideResNet | VGG | MLP | ViT | Torchvision
Data = Digits | CIFAR | ImageFolder | Synthetic
